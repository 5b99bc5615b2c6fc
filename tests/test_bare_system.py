"""Conversion, training and resume where Linux's own calls are missing, as on macOS and, apart from WSL, Windows.

tests/bare_system/sitecustomize.py hides them in these processes and their workers.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shapes import write_shapes
from tests.train.conftest import TINY, log_of

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
    plain = [
        sys.executable,
        "write_dataset.py",
        f"--source.path={images}",
        f"--output.folder={tmp_path}/plain",
    ]
    subprocess.run([*plain, *output], cwd=repository, check=True, capture_output=True)
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
    bare("train_imagenet.py", *recipe, "--logging.name=whole")
    whole, killed = tmp_path / "runs/whole", tmp_path / "runs/killed"
    assert log_of(whole, "epoch")[0]["host_memory_mb"] is None

    # As it was after the first epoch.
    shutil.copytree(whole, killed)
    after = [*killed.glob("checkpoints/epoch_002_*"), *killed.glob("weights*"), *killed.glob("*.safetensors")]
    for file in (killed / "checkpoints/last.pt", *after):
        file.unlink()
    rows = (killed / "log.jsonl").read_text().splitlines(keepends=True)
    (killed / "log.jsonl").write_text("".join(row for row in rows if '"kind": "result"' not in row))
    assert "resuming after epoch 1" in bare("train_imagenet.py", *recipe, f"--training.resume={killed}")
    assert (killed / "weights.pt").read_bytes() == (whole / "weights.pt").read_bytes()
