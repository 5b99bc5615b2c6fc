"""The Dockerfile, and what a container takes away: the user's name and home, folders to write into, shared memory."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.shapes import write_shapes
from tests.train.conftest import TINY
from tests.trainer_process import after_first_of_two_epochs

INSTRUCTIONS = {
    *(
        "FROM",
        "RUN",
        "CMD",
        "LABEL",
        "EXPOSE",
        "ENV",
        "ADD",
        "COPY",
        "ENTRYPOINT",
        "VOLUME",
        "USER",
        "WORKDIR",
    ),
    *("ARG", "ONBUILD", "STOPSIGNAL", "HEALTHCHECK", "SHELL"),
}


def instructions(path: Path) -> list[tuple[str, str]]:
    """Name and arguments of each instruction of a Dockerfile."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(words[0], words[1]) for line in lines if line for words in [line.split(maxsplit=1)]]


def test_dockerfile_is_well_formed(repository: Path) -> None:
    found = instructions(repository / "Dockerfile")
    assert {name for name, _ in found} <= INSTRUCTIONS
    images = [shlex.split(rest) for name, rest in found if name == "FROM"]
    assert found[0][0] == "FROM" and len(images) == 2
    # Of a version, so that the same file makes the same image next year.
    assert all(re.search(r":\d+\.\d+\.\d+-", image[0]) for image in images)
    assert [rest for name, rest in found if name == "USER"][-1] not in ("root", "0")
    for _, rest in (one for one in found if one[0] == "RUN"):
        assert subprocess.run(["bash", "-n", "-c", rest], check=False).returncode == 0, rest
        assert "apt-get install" not in rest or {"--no-install-recommends", "-y"} <= {*shlex.split(rest)}
        assert "apt-get" not in rest or "rm -rf /var/lib/apt/lists/*" in rest, "a layer without apt's lists"


def test_dockerfile_copies_what_is_there(repository: Path) -> None:
    found = instructions(repository / "Dockerfile")
    stages = {rest.partition(" AS ")[2] for name, rest in found if name == "FROM"}
    for words in (shlex.split(rest) for name, rest in found if name == "COPY"):
        if words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in stages
        else:
            assert all(
                (repository / source).exists() and not _ignored(repository, source) for source in words[:-1]
            )
    for path in repository.glob("engine/**/*.[pchy]*"):
        name = path.relative_to(repository).as_posix()
        assert "__pycache__" in name or not _ignored(repository, name), name
    assert all(
        _ignored(repository, name) for name in (".venv/x", "runs/x", "a/b/train.beton", "a/__pycache__/x.pyc")
    )


def _ignored(repository: Path, path: str) -> bool:
    """By .dockerignore: a pattern is of the root, unless it begins with **/."""
    lines = (repository / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    parts = Path(path).parts
    return any(
        any(fnmatch.fnmatch(part, pattern.removeprefix("**/")) for part in parts)
        if pattern.startswith("**/")
        else fnmatch.fnmatch(parts[0] if parts else "", pattern)
        for pattern in patterns
    )


@pytest.mark.slow
def test_image_builds_and_its_doctor_finds_no_failure(repository: Path) -> None:
    if (
        not shutil.which("docker")
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("docker does not run here")
    tag = "imagenet-engine:test"
    subprocess.run(["docker", "build", "-q", "-t", tag, str(repository)], check=True)
    # Any user, and nothing to write into.
    run = ["docker", "run", "--rm", "--user=12345:12345", "--read-only", tag]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "0 failed" in done.stdout, done.stdout + done.stderr


_SHUT_IN = """
mount -t tmpfs -o size={shared} tmpfs /dev/shm && chmod 1777 /dev/shm && head -c {taken} /dev/zero >/dev/shm/taken
mount --bind {root} {root} && mount -o remount,bind,ro {root} && cd {root} || exit 99
exec setpriv --reuid=12345 --regid=12345 --clear-groups --inh-caps=-all,+dac_read_search \
    --ambient-caps=-all,+dac_read_search --bounding-set=-all,+dac_read_search \
    env -i PATH="$PATH" OMP_NUM_THREADS=1 NUMBA_CACHE_DIR={kernels} "$@"
"""

ShutIn = Callable[..., tuple[int, str]]


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder for anybody."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def shut_in(repository: Path, open_folder: Path) -> ShutIn:
    """Run a command as a user without name, home and rights, in a checkout that is read-only: exit code and output.

    /dev/shm has 64 MB, or `shared`, of which `taken` are in use. Reading is allowed: Python may lie in root's home.
    numba's kernels are kept in the test's folder, as each process would take 20 s to compile them.
    """
    if os.getuid() or not all(map(shutil.which, ("unshare", "setpriv"))):
        pytest.skip("needs root, unshare and setpriv")
    if subprocess.run(["unshare", "-m", "mount", "--bind", "/", "/"], check=False).returncode:
        pytest.skip("nothing can be mounted here")

    def run(*command: object, shared: str = "64m", taken: int = 0) -> tuple[int, str]:
        kernels = shlex.quote(str(open_folder / "numba"))
        script = _SHUT_IN.format(
            root=shlex.quote(str(repository)), shared=shared, taken=taken, kernels=kernels
        )
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, *map(str, command)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode != 99, done.stdout
        return done.returncode, done.stdout

    return run


def test_full_shared_memory_is_one_line(shut_in: ShutIn, open_folder: Path, tmp_path: Path) -> None:
    images = write_shapes(tmp_path / "images")
    options = ["write_dataset.py", f"--source.path={images}", f"--output.folder={open_folder}/data"]
    code, printed = shut_in(*options, "--output.num_workers=2", shared="4k", taken=4096)
    assert code == 2 and printed.count("\n") == 1
    assert "pass --output.num_workers=1, or make room there" in printed
    code, printed = shut_in(*options, "--output.num_workers=1", shared="4k", taken=4096)
    assert code == 0, printed


def test_read_only_working_folder_is_one_line(shut_in: ShutIn, tmp_path: Path) -> None:
    images = write_shapes(tmp_path / "images")
    code, printed = shut_in("write_dataset.py", f"--source.path={images}", "--output.folder=data")
    assert code == 2 and printed.count("\n") == 1 and "the file system is read-only" in printed


@pytest.mark.slow
def test_nameless_user_converts_trains_resumes_and_predicts(
    shut_in: ShutIn, open_folder: Path, tmp_path: Path
) -> None:
    images = write_shapes(tmp_path / "images")

    def ran(*command: object) -> str:
        code, printed = shut_in(*command)
        assert code == 0, printed
        return printed

    assert "0 failed" in ran("-m", "engine", "doctor")
    data, runs = open_folder / "data", open_folder / "runs"
    ran("write_dataset.py", f"--source.path={images}", f"--output.folder={data}", "--output.num_workers=2")
    changed = {
        "training.epochs": 2,
        "data.train_dataset": data / "train.beton",
        "data.val_dataset": data / "val.beton",
        "logging.folder": runs,
    }
    options = [f"--{key}={value}" for key, value in {**TINY, **changed}.items()]
    ranks = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train_imagenet.py"]
    ran(*ranks, *options, "--logging.name=whole")
    after_first_of_two_epochs(runs / "whole", runs / "again")
    for path in [runs / "again", *(runs / "again").rglob("*")]:
        os.chown(path, 12345, 12345)
    assert "resuming after epoch 1" in ran(*ranks, *options, "--logging.name=again", "--training.resume=auto")
    whole, again = (torch.load(runs / name / "weights.pt", weights_only=True) for name in ("whole", "again"))
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    picture = next((images / "val").rglob("*.*"))
    assert picture.name in ran("-m", "engine", "predict", runs / "again", picture)
