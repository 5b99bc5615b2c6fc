"""Conversion, training and resume where Linux's own calls are missing, as on macOS and, apart from WSL, Windows.

tests/bare_system/sitecustomize.py hides them in these processes and their workers.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.convert.conversion import convert
from tests.shapes import write_shapes
from tests.train.conftest import TINY, log_of
from tests.trainer_process import after_first_of_two_epochs, trainer_process

BARE = Path(__file__).parent / "bare_system"


@pytest.fixture
def bare(repository: Path) -> Callable[..., str]:
    def run(*command: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=repository,
            env=os.environ | {"PYTHONPATH": str(BARE), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


# Not on macOS, or not on Windows; a path in /proc that is read where it exists is no call.
_LINUX = re.compile(
    r"\bos\.(?:sched_|posix_fa|memfd_|O_DIRECT|preadv|pwritev|sendfile|copy_file_range|splice|fork|uname|eventfd|pidfd)"
    r"|\bsignal\.(?:SIGUSR|pthread_|sigwait)|\bRUSAGE_THREAD|^ *(?:import|from) (?:fcntl|resource)\b|/proc/self/fd",
    re.MULTILINE,
)


def test_one_module_makes_the_calls_that_systems_lack(repository: Path) -> None:
    files = [*repository.glob("engine/**/*.py"), *repository.glob("*.py")]
    found = {
        path.relative_to(repository).as_posix()
        for path in files
        if _LINUX.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"engine/system.py", "engine/data/convert/workers.py"}, "the latter asks hasattr first"


_PROBE = """
import os, signal, sys
sys.path.insert(0, {root!r})
from engine import limits, system
assert system.fcntl is None and system.resource is None, "hidden"
assert not any(hasattr(os, name) for name in ("sched_getaffinity", "memfd_create", "preadv", "O_DIRECT", "fork"))
assert system.ENDING == (signal.SIGTERM,)
assert limits.usable_cores() >= 1 and len(system.allowed_cores()) == os.cpu_count()
assert 2**28 < limits.free_memory() <= limits.usable_memory()
assert system.peak_memory() is None and system.faults_of_thread() == 0 and system.open_files_limit() == -1
assert system.runs(os.getpid()) and not system.runs(2**22 + 1)
system.bind_thread(0, frozenset({{0}}))
with open({file!r}, "w+b", buffering=0) as file:
    file.write(b"0123456789")
    system.lock(file)
    system.lock_for_process(file.fileno())
    system.advise(file.fileno(), 0, 0, "RANDOM")
    buffer = memoryview(bytearray(4))
    assert (system.read_at(file.fileno(), buffer, 8), bytes(buffer[:2])) == (2, b"89")
    again = system.opened_again(file.fileno())
    assert os.pread(again, 3, 2) == b"234" and system.opened_direct(file.fileno()) == -1
    os.close(again)
"""


def test_missing_calls_have_a_way_out(bare: Callable[..., str], repository: Path, tmp_path: Path) -> None:
    bare("-c", _PROBE.format(root=str(repository), file=str(tmp_path / "file")))


@pytest.mark.slow
def test_bare_system_converts_trains_and_resumes(
    bare: Callable[..., str], repository: Path, tmp_path: Path
) -> None:
    images = write_shapes(tmp_path / "images")
    output = ["--output.format=proportion", "--output.num_workers=2"]
    bare("write_dataset.py", f"--source.path={images}", f"--output.folder={tmp_path}/bare", *output)
    plain = OutputConfig(folder=str(tmp_path / "plain"), format="proportion", num_workers=1)
    (tmp_path / "plain").mkdir()
    convert(WriteConfig(source=SourceConfig(path=str(images)), output=plain))
    for name in ("train.beton", "val.beton"):
        assert (tmp_path / "bare" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()

    changed = {
        "training.epochs": 2,
        "data.order": "pages",
        "data.train_dataset": tmp_path / "bare/train.beton",
        "data.val_dataset": tmp_path / "bare/val.beton",
        "logging.folder": tmp_path / "runs",
    }
    recipe = [f"--{key}={value}" for key, value in {**TINY, **changed}.items()]
    whole, killed = tmp_path / "runs/whole", tmp_path / "runs/killed"
    with trainer_process(PYTHONPATH=str(BARE), OMP_NUM_THREADS="1") as train:
        train([*recipe, "--logging.name=whole"])
        after_first_of_two_epochs(whole, killed)
        assert "resuming after epoch 1" in train([*recipe, f"--training.resume={killed}"])
    assert log_of(whole, "epoch")[0]["host_memory_mb"] is None
    first, second = (torch.load(run / "weights.pt", weights_only=True) for run in (whole, killed))
    assert all(torch.equal(first[name], second[name]) for name in first)
