"""The wheel: what is in it, and that it runs without a checkout, a compiler, ffcv or a home, in an ordinary account."""

import email
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.config.installation import requirements
from engine.data.native.compile import libjpeg_flags, library_path

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not libjpeg_flags(),
    reason="a wheel is built on Linux with libjpeg-turbo's headers",
)
PROGRAMS = ("imagenet-engine", "train-imagenet", "write-dataset")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make wheel` does."""
    for tool in ("build", "auditwheel"):
        pytest.importorskip(tool)
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [repository / "scripts/wheel.sh", folder],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_code_recipes_and_library(wheel: Path, repository: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        metadata = email.message_from_bytes(file.read("imagenet_engine-0.1.0.dist-info/METADATA"))
    tracked = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "engine", "*_configs", "*.py"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    wanted = {
        f"engine/recipe_files/{name}" if "_configs/" in name else name
        for name in tracked
        if name.startswith("engine/")
        or "_configs/" in name
        or name in ("train_imagenet.py", "write_dataset.py")
    }
    assert {name for name in wanted if not name.endswith(".gitkeep")} <= names
    assert f"engine/data/native/{library_path().name}" in names
    assert any(re.fullmatch(r"imagenet_engine\.libs/libjpeg-.*\.so.*", name) for name in names)
    top = {name.split("/")[0] for name in names}
    assert top == {
        *("engine", "train_imagenet.py", "write_dataset.py"),
        *("imagenet_engine.libs", "imagenet_engine-0.1.0.dist-info"),
    }
    assert not [name for name in names if name.endswith(".pyc")]
    # For every Python on a Linux with glibc 2.17 or newer.
    assert re.search(r"-py3-none-(\w+\.)*manylinux_2_\d+_(x86_64|aarch64)", wheel.name)
    assert wheel.stat().st_size < 3_000_000
    asked = metadata.get_all("Requires-Dist") or []
    plain = [line for line in asked if "extra ==" not in line]
    assert sorted(re.split(r"[<>=]", line)[0] for line in plain) == sorted(
        re.split(r"[<>=]", line)[0] for line in requirements()
    )
    assert [line for line in asked if line.startswith("ffcv==")] == ['ffcv==1.0.2; extra == "ffcv"']


@pytest.fixture(scope="module")
def environment(wheel: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed by uv into an environment, which finds all other packages in the present one."""
    uv = subprocess.run(
        [repository / "scripts/find_uv.sh"], capture_output=True, text=True, check=True
    ).stdout.strip()
    folder = tmp_path_factory.mktemp("environment") / "bare"
    python = folder / "bin/python"
    for words in (
        f"venv --quiet --offline --python {sys.executable} {folder}",
        f"pip install --quiet --offline --no-config --no-deps --python {python} {wheel}",
    ):
        subprocess.run([uv, *shlex.split(words)], cwd=folder.parent, check=True, timeout=120)
    (site,) = folder.glob("lib/python3*/site-packages")
    others = folder / "others"
    others.mkdir()
    for entry in _packages().iterdir():
        if not entry.name.startswith(("ffcv", "_libffcv")) and entry.suffix != ".pth":
            (others / entry.name).symlink_to(entry)
    (site / "others.pth").write_text(f"{others}\n")
    return folder


def _packages() -> Path:
    """The site-packages of the present environment."""
    return Path(np.__file__).parents[1]


# The system's libraries and Python, the packages; no compiler, checkout or home. $1 is the new root, the rest is the
# command.
_ENTER = """
set -e
root=$1; shift
mount -t tmpfs bare "$root"
bring() { mkdir -p "$root$1"; mount --bind "$1" "$root$1"; mount -o remount,bind,ro "$root$1"; }
for folder in FOLDERS; do if [ -d "$folder" ]; then bring "$folder"; fi; done
for hidden in /usr/lib/gcc /usr/lib/llvm*; do
    if [ -d "$root$hidden" ]; then mount -t tmpfs none "$root$hidden"; fi
done
mkdir -p "$root/proc" "$root/dev/shm" "$root/tmp" "$root/usr/bin" "$root/bin"
cp SHELL "$root/bin/sh"
mount --rbind /proc "$root/proc"
mount -t tmpfs -o size=64m shm "$root/dev/shm"; chmod 1777 "$root/dev/shm" "$root/tmp"
for device in null zero urandom; do : >"$root/dev/$device"; mount --bind /dev/$device "$root/dev/$device"; done
mkdir -p "$root/WORK"; mount --bind WORK "$root/WORK"
exec chroot --userspec=4321:4321 "$root" /bin/sh -c 'cd WORK; exec "$@"' sh "$@"
"""


class Account:
    """An ordinary user on a machine that has little more than Python."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.environment, self.work, self._root = environment, folder / "work", folder / "root"
        for path in (self.work, self._root):
            path.mkdir()
        os.chown(self.work, 4321, 4321)
        base = Path(sys.base_prefix)
        folders = ["/lib", "/lib64", "/usr/lib", str(environment), str(_packages())]
        # A Python of the system lies in a folder that has the compilers too.
        folders += [str(base)] if base != Path("/usr") else []
        text = _ENTER.replace("FOLDERS", shlex.join(folders))
        shell = os.path.realpath(shutil.which("dash") or shutil.which("sh") or "/bin/sh")
        self._enter = text.replace("WORK", str(self.work)).replace("SHELL", shell)
        if base == Path("/usr"):
            self._enter = self._enter.replace(
                "exec chroot", f'cp {os.path.realpath(sys.executable)} "$root/usr/bin/"\nexec chroot'
            )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", self._enter, "sh", str(self._root), *command],
            env={"PATH": f"{self.environment}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )


@pytest.fixture(scope="module")
def account(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    if os.getuid() or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("only root who may unshare can make a bare root")
    folder = tmp_path_factory.mktemp("bare")
    # pytest's folders are for their owner alone.
    for path in (environment, folder):
        for parent in (path, *path.parents[:3]):
            if parent.is_relative_to(tmp_path_factory.getbasetemp().parent):
                parent.chmod(0o755)
    yield Account(environment, folder)


@pytest.mark.slow
def test_ordinary_account_has_no_compiler_and_no_ffcv(account: Account) -> None:
    script = """if True:
        import importlib.util, os, shutil
        found = [name for name in ("cc", "gcc", "g++", "clang", "ld", "git") if shutil.which(name)]
        print(os.getuid(), os.environ.get("HOME"), found, importlib.util.find_spec("ffcv"))
    """
    done = account.run("python", "-c", script)
    assert (done.returncode, done.stdout) == (0, "4321 None [] None\n"), done.stderr


@pytest.mark.slow
def test_doctor_and_help_work_in_ordinary_account(account: Account) -> None:
    for program in PROGRAMS:
        done = account.run(program, "--help")
        assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr
    done = account.run("imagenet-engine", "doctor")
    assert "fail " not in done.stdout and "C decoders: " in done.stdout and ", JPEG\n" in done.stdout, (
        done.stdout
    )
    maps = """if True:
        from engine.data.native.library import library
        print(library().has_jpeg, open("/proc/self/maps").read())
    """
    loaded = account.run("python", "-c", maps).stdout
    # The wheel's own libjpeg-turbo, not the system's.
    assert re.search(r"imagenet_engine\.libs/libjpeg-", loaded) and "x86_64-linux-gnu/libjpeg" not in loaded


@pytest.mark.slow
def test_speedrun_runs_in_ordinary_account(account: Account) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 96), ("val", 16)):
        for label in range(2):
            folder = account.work / "images" / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 128, (36, 40, 3), dtype=np.uint8) + np.uint8(100 * label)
                Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=90)
    done = account.run("write-dataset", "--source.path=images", "--output.folder=beton")
    assert done.returncode == 0, done.stderr
    # The files are those of an earlier speedrun to it. With a length given it plans nothing.
    done = account.run(
        *("imagenet-engine", "speedrun", "--folder=beton", "--", "--training.epochs=2"),
        *(
            "--training.batch_size=32",
            "--logging.name=short",
            "--budget.minutes=60",
            "--budget.target_top1=0",
        ),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "$ train-imagenet -C rn50_configs/demo.yaml" in done.stdout
    assert "decoded on the CPU in C" in done.stdout
    run = account.work / "runs/short"
    assert {"config.yaml", "log.jsonl", "report.html", "weights.pt", "model.safetensors"} <= {
        path.name for path in run.iterdir()
    }
    assert run.stat().st_uid == 4321
    # Recipes are found from any folder, and planned with.
    table = account.run("imagenet-engine", "recipes").stdout
    assert "rn50_16_epochs" in table and "demo" in table
    plan = account.run("imagenet-engine", "plan", "--minutes=30", "--on=8xH100", "--output=plan.yaml")
    assert plan.returncode == 0 and "train-imagenet -C plan.yaml" in plan.stdout, plan.stderr
