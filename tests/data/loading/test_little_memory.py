"""Two epochs in page order by a process whose control group holds a quarter of the file."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.data.resident import drop

ROOT = Path(__file__).parents[3]
GROUPS = Path("/sys/fs/cgroup")
RECORD, COUNT = 130_000, 2_000
QUARTER, WINDOW = RECORD * COUNT // 4, 16 * 2**20

# Joins the group only when everything is imported, so that all of its memory is there for the file.
_PROGRAM = """
import json, os, sys
from pathlib import Path
import numpy as np
from engine.data.sampling.order import cut_pages, page_windows
from engine.data.loading.windows import WindowReader
from tests.data.resident import resident

path, group, record, count, window = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
Path(group, "cgroup.procs").write_text(str(os.getpid()))
memory = np.memmap(path, dtype=np.uint8, mode="r")
pointers = np.arange(count, dtype=np.uint64) * np.uint64(record)
pages = cut_pages(pointers, np.full(count, record, np.uint64))

def disk_bytes():
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["read_bytes"])

epochs = []
for epoch in range(2):
    windows = page_windows(pages, window_bytes=window, seed=0, epoch=epoch)
    before, held, seen = disk_bytes(), 0, 0
    with WindowReader(Path(path), memory, windows) as reader:
        for start in range(0, count, 32):
            ids = windows.order[start : start + 32]
            reader.advance(ids)
            for sample in ids.tolist():
                here = memory[sample * record : (sample + 1) * record]
                seen += bool((here == sample % 251).all())
            held = max(held, int(resident(memory).sum()) * os.sysconf("SC_PAGESIZE"))
    epochs.append({"read": disk_bytes() - before, "held": held, "seen": seen})
print(json.dumps(epochs))
"""


def _own_group(controller: str) -> Path | None:
    """This process's group in version 1 (controller "memory") or 2 (""), below the mount."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return Path(path.lstrip("/"))
    return None


def _new_group() -> tuple[Path, str] | str:
    """A folder for a new memory group and its limit's file, or why there is none."""
    name = f"little-memory-{os.getpid()}"
    own = _own_group("memory")
    if own is not None and (GROUPS / "memory" / own).is_dir():
        return GROUPS / "memory" / own / name, "memory.limit_in_bytes"
    own = _own_group("")
    # In version 2 a group with processes has no groups below it: the new one stands beside this process's.
    parent = GROUPS / own.parent if own is not None else GROUPS
    shared = parent / "cgroup.subtree_control"
    if shared.is_file() and "memory" in shared.read_text().split():
        return parent / name, "memory.max"
    return "this system has no memory controller that tests can use"


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that may hold a quarter of the file."""
    found = _new_group()
    if isinstance(found, str):
        pytest.skip(found)
    folder, limit = found
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        (folder / limit).write_text(str(QUARTER))
        yield folder
    finally:
        folder.rmdir()


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A file of 260 MB, on disk and not in memory."""
    path = tmp_path / "records"
    with open(path, "wb") as file:
        for number in range(COUNT):
            file.write(np.full(RECORD, number % 251, np.uint8).tobytes())
    drop(path)
    return path


@pytest.mark.slow
def test_two_epochs_read_the_file_twice_and_hold_two_windows(records: Path, group: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(records), str(group), str(RECORD), str(COUNT), str(WINDOW)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    epochs, size = json.loads(done.stdout), RECORD * COUNT
    assert [epoch["seen"] for epoch in epochs] == [COUNT, COUNT]
    for epoch in epochs:
        if not epoch["read"]:
            pytest.skip("this file system's reads are not counted, so nothing is known of them")
        # Random order reads the same file several times over.
        assert 0.9 * size < epoch["read"] < 1.5 * size
        # And what neighbours share at their edges.
        assert epoch["held"] < 2 * WINDOW + 2**20
