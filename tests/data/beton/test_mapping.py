"""A file that is cut short under its readers gives one line, not the end of the process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.data.beton.mapping import Mapping
from engine.data.beton.reader import Beton, open_beton
from engine.data.loading.decode_pool import DecodePool
from engine.data.native.library import Library, library
from engine.data.sampling.crops import CenterCrop
from engine.errors import UserError
from tests.data.betons import write_pixels
from tests.data.conftest import photo

SAMPLES = 24
WHOLE = CenterCrop(ratio=1.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Raw pictures, 3.5 MB of them."""
    pictures = [photo(224, 224, seed) for seed in range(SAMPLES)]
    return write_pixels(tmp_path_factory.mktemp("raw"), pictures, "raw").read_bytes()


@pytest.fixture
def beton(written: bytes, tmp_path: Path) -> Beton:
    """The pictures in a file of this test's own."""
    path = tmp_path / "cut.beton"
    path.write_bytes(written)
    return open_beton(path)


@pytest.fixture(params=["C", "numba"])
def maybe_library(request: pytest.FixtureRequest) -> Library | None:
    """The library in C where it is built, then none."""
    found = library() if request.param == "C" else None
    if found is None and request.param == "C":
        pytest.skip("the C decoders are not built: run `python -m engine build`")
    return found


def test_cut_file_is_found_by_its_size(beton: Beton, maybe_library: Library | None) -> None:
    mapping = Mapping(beton, maybe_library)
    mapping.check()
    os.truncate(beton.path, 100_000)
    with pytest.raises(
        UserError, match=r"was cut short while it was in use: it has 100000 bytes and had"
    ) as e:
        mapping.check()
    assert str(e.value).startswith(str(beton.path)) and "\n" not in str(e.value)
    mapping.close()
    mapping.close()


def test_grown_or_replaced_file_is_accepted(beton: Beton, written: bytes) -> None:
    mapping = Mapping(beton, library())
    with open(beton.path, "ab") as file:
        file.write(b"more")
    mapping.check()
    beton.path.unlink()
    beton.path.write_bytes(b"another file, which this map does not show")
    mapping.check()
    assert mapping.memory.tobytes() == written
    mapping.close()


@pytest.mark.parametrize("portable", [False, True])
def test_pool_names_a_cut_file(beton: Beton, portable: bool) -> None:
    pool, out = DecodePool(beton, 2, "first-epoch", portable), np.empty((SAMPLES, 32, 32, 3), np.uint8)
    assert pool.decode(np.arange(SAMPLES), WHOLE, out) == []
    os.truncate(beton.path, 100_000)
    for _ in range(2):
        with pytest.raises(UserError, match="was cut short while it was in use"):
            pool.decode(np.arange(SAMPLES), WHOLE, out)
        with pytest.raises(UserError, match="was cut short while it was in use"):
            pool.pack(np.arange(SAMPLES), WHOLE, lambda size: np.empty(size, np.uint8))
    pool.close()


# What only a process of its own can show, since a failure ends it.

_PRELUDE = """
import os, sys
import numpy as np
from engine.data.beton.reader import open_beton
from engine.data.sampling.crops import CenterCrop
from engine.data.loading.decode_pool import DecodePool
from engine.data.beton.mapping import Mapping
from engine.data.native.library import library
from engine.errors import UserError

beton = open_beton(sys.argv[1])
native = library()

def said(work):
    try:
        work()
    except UserError as error:
        return str(error)
    return "nothing"
"""

_CUT_BETWEEN_CHECK_AND_READ = """
crop, out = CenterCrop(ratio=1.0), np.empty((beton.num_samples, 32, 32, 3), np.uint8)
pool = DecodePool(beton, 2, sys.argv[2])
# As if the file were cut short right after its size was asked for.
before = os.fstat(pool._mapping._descriptor)
os.fstat = lambda descriptor: before
os.truncate(beton.path, 100_000)
print(said(lambda: pool.decode(np.arange(beton.num_samples), crop, out)))
print(said(lambda: pool.decode(np.arange(1), crop, out[:1])))
pool.close()
"""

_UNGUARDED = """
guarded = Mapping(beton, native)
other = np.memmap(beton.path, np.uint8, "r")
os.truncate(beton.path, 100_000)
print(int(guarded.memory[2_000_000]), native.fault(guarded._slot), flush=True)
print(int(other[2_000_000]))
"""

_NO_LONGER_GUARDED = """
mapping = Mapping(beton, native)
mapping.close()
os.truncate(beton.path, 100_000)
print("reading", flush=True)
print(int(mapping.memory[2_000_000]))
"""

_AFTER_ONE_THAT_WAS_DROPPED = """
dropped = Mapping(beton, native)
address = dropped.memory.ctypes.data
del dropped
mapping = Mapping(beton, native)
os.truncate(beton.path, 100_000)
print(mapping.memory.ctypes.data == address, int(mapping.memory[2_000_000]))
print(said(mapping.check))
os.fstat = lambda descriptor: os.stat_result((0,) * 6 + (2**40,) + (0,) * 3)
print(said(mapping.check))
"""

_DROPPED_AGAIN_AND_AGAIN = """
open_files = len(os.listdir("/proc/self/fd"))
for _ in range(200):
    mapping = Mapping(beton, native)
    assert mapping._slot is not None
del mapping
print(len(os.listdir("/proc/self/fd")) - open_files)
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(beton: Beton, repository: Path) -> Run:
    """Run this code on the file in a process of its own."""
    if library() is None:
        pytest.skip("the C decoders are not built: run `python -m engine build`")

    def run_code(
        code: str, *arguments: str, python: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *python, "-c", _PRELUDE + code, str(beton.path), *arguments]
        return subprocess.run(
            command, cwd=repository, capture_output=True, text=True, timeout=120, check=False
        )

    return run_code


@pytest.mark.parametrize("verify", ["never", "always"])
def test_failed_read_is_named_by_its_place(run: Run, beton: Beton, verify: str) -> None:
    done = run(_CUT_BETWEEN_CHECK_AND_READ, verify)
    assert done.returncode == 0, done.stderr
    first, again = done.stdout.splitlines()
    assert first.startswith(f"{beton.path} can't be read at byte ") and " (sample " in first
    assert first.endswith("copy it again, from a healthy disk")
    # Not only this once: what lies behind the end has been replaced by zeros.
    assert again == first


@pytest.mark.parametrize("python", [(), ("-X", "faulthandler")])
def test_fault_outside_guarded_maps_ends_the_process(run: Run, python: tuple[str, ...]) -> None:
    done = run(_UNGUARDED, python=python)
    assert done.stdout.split() == ["0", "2000000"]
    assert done.returncode == -signal.SIGBUS
    assert ("Bus error" in done.stderr) is bool(python)


def test_closed_map_is_no_longer_guarded(run: Run) -> None:
    done = run(_NO_LONGER_GUARDED)
    assert done.stdout == "reading\n"
    assert done.returncode == -signal.SIGBUS


def test_map_at_a_reused_address_reports_new_faults(run: Run, beton: Beton) -> None:
    same_place, cut_short, failed = run(_AFTER_ONE_THAT_WAS_DROPPED).stdout.splitlines()
    if same_place != "True 0":
        pytest.skip("the system has put the second map elsewhere")
    assert " was cut short while it was in use" in cut_short
    assert failed.startswith(f"{beton.path} can't be read at byte 2000000: ")


def test_dropped_maps_leave_nothing_open(run: Run) -> None:
    done = run(_DROPPED_AGAIN_AND_AGAIN)
    assert done.stdout == "0\n", done.stderr


def _write_over(path: Path, at: int, data: bytes) -> None:
    """Write into the file, as rsync --inplace does, with a time of change that certainly differs."""
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


def test_changed_labels_in_place_are_refused(beton: Beton, maybe_library: Library | None) -> None:
    mapping = Mapping(beton, maybe_library)
    with open(beton.path, "rb") as file:
        labels_at = file.read().index(beton.images.tobytes()[:5])
    _write_over(beton.path, labels_at, b"\0")
    with pytest.raises(
        UserError, match=r"changed while it was in use \(last at .*\): its labels, sizes"
    ) as e:
        mapping.check()
    assert str(e.value).startswith(str(beton.path)) and "\n" not in str(e.value)
    mapping.close()
    with pytest.raises(UserError, match="changed while it was in use"):
        Mapping(beton, maybe_library)


def test_changed_pixels_in_place_are_found_again(beton: Beton) -> None:
    pool, out = DecodePool(beton, 1, "first-epoch"), np.empty((SAMPLES, 32, 32, 3), np.uint8)
    assert pool.decode(np.arange(SAMPLES), WHOLE, out) == []
    _write_over(beton.path, int(beton.images["data_ptr"][5]), b"other pixels under the old checksum")
    assert [bad.row for bad in pool.decode(np.arange(SAMPLES), WHOLE, out)] == [5]
    pool.close()


def test_touched_file_is_accepted_with_checksums_only(beton: Beton) -> None:
    mapping, blind = Mapping(beton, library()), Mapping(replace(beton, checksums=None), library())
    assert not mapping.check()
    os.utime(beton.path, ns=(0, 10**18))
    assert mapping.check() and not mapping.check()
    with pytest.raises(UserError, match="no checksums that could show"):
        blind.check()
    mapping.close()
    blind.close()
