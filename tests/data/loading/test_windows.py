"""The window in use is in memory, the next follows, the last is gone, and what goes wrong is said, never waited for."""

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from mmap import PAGESIZE
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.data.beton.reader import open_beton
from engine.data.loading import windows as windows_module
from engine.data.loading.windows import WindowReader
from engine.data.sampling.order import PAGE_BYTES, cut_pages, page_windows
from engine.errors import UserError
from tests.data.resident import drop, resident

RECORD = 100_000
COUNT = 320
WINDOW_PAGES = 5


class File:
    """Records of RECORD bytes each, all of them the record's number modulo 251, and an epoch's windows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"".join(bytes([number % 251]) * RECORD for number in range(COUNT)))
        drop(path)
        self.memory = np.memmap(path, dtype=np.uint8, mode="r")
        if resident(self.memory).any():
            pytest.skip(f"the file system of {path} keeps its files in memory")
        self.pointers = np.arange(COUNT, dtype=np.uint64) * np.uint64(RECORD)
        sizes = np.full(COUNT, RECORD, np.uint64)
        self.windows = page_windows(
            cut_pages(self.pointers, sizes), window_bytes=WINDOW_PAGES * PAGE_BYTES, seed=1, epoch=0
        )

    def reader(self) -> WindowReader:
        return WindowReader(self.path, self.memory, self.windows)

    def window(self, number: int) -> NDArray[np.int64]:
        """The samples of a window."""
        return self.windows.order[self.windows.starts[number] : self.windows.starts[number + 1]]

    def held(self) -> NDArray[np.float64]:
        """For each window the share of its bytes that is in memory."""
        pages = resident(self.memory)
        inside = [
            np.concatenate([pages[-(-start // PAGESIZE) : stop // PAGESIZE] for start, stop in spans])
            for spans in self.windows.spans
        ]
        return np.array([part.mean() for part in inside])


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "records")


def _wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_window_is_in_memory_before_its_first_sample(file: File) -> None:
    with file.reader() as reader:
        for number in range(len(file.windows.spans)):
            reader.advance(file.window(number)[:1])
            assert file.held()[number] == 1.0
            for sample in file.window(number):
                start = int(file.pointers[sample])
                assert (file.memory[start : start + RECORD] == sample % 251).all()


def test_only_the_next_window_is_read_ahead(file: File) -> None:
    with file.reader() as reader:
        for number in range(len(file.windows.spans) - 1):
            reader.advance(file.window(number)[:8])
            _wait_until(lambda at=number: file.held()[at + 1] == 1.0)  # type: ignore[misc]
            _wait_until(lambda at=number: file.held()[:at].sum() == 0.0)  # type: ignore[misc]
            assert file.held()[number + 2 :].sum() == 0.0


def test_batch_across_windows_has_all_of_them_in_memory(file: File) -> None:
    with file.reader() as reader:
        batch = file.windows.order[file.windows.starts[1] - 3 : file.windows.starts[3] + 3]
        reader.advance(batch)
        assert (file.held()[:4] == 1.0).all()


def test_closed_windows_hold_no_memory(file: File) -> None:
    reader = file.reader()
    reader.advance(file.window(0))
    reader.close()
    reader.close()
    assert not resident(file.memory).any()


def test_windows_may_start_within_an_epoch_but_not_go_back(file: File) -> None:
    with file.reader() as reader:
        reader.advance(file.window(4)[:1])
        assert file.held()[4] == 1.0
        _wait_until(lambda: file.held()[:4].sum() == 0.0)
        with pytest.raises(ValueError, match="window 3 was released: window 4 is in use"):
            reader.advance(file.window(3)[:1])


def test_window_stays_while_another_rank_uses_it(file: File) -> None:
    slow_map = np.memmap(file.path, dtype=np.uint8, mode="r")
    with WindowReader(file.path, slow_map, file.windows) as slow:
        slow.advance(file.window(0))
        _wait_until(lambda: file.held()[1] == 1.0)
        with file.reader() as fast:
            for number in range(len(file.windows.spans)):
                fast.advance(file.window(number))
        assert (file.held()[:2] == 1.0).all(), "both windows of the slow rank"
        assert file.held()[2:].sum() == 0.0
        slow.advance(file.window(1))
    # Linux keeps those of a page's last references that wait in a core's list (31 at most).
    assert resident(file.memory).sum() <= 31 * (os.cpu_count() or 1)


def test_older_kernel_reads_without_hints(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    # No such advice exists: madvise refuses it, as systems before Linux 5.14 refuse the real one.
    monkeypatch.setattr(windows_module, "_MADV_POPULATE_READ", 99)
    with file.reader() as reader:
        for number in range(len(file.windows.spans)):
            reader.advance(file.window(number))
            assert file.held()[number] == 1.0
    assert not resident(file.memory).any()


def test_shortened_file_ends_the_wait_with_its_name(file: File) -> None:
    os.truncate(file.path, COUNT * RECORD // 3)
    # Others' tests may have left some, such as tqdm's.
    threads = threading.active_count()
    with file.reader() as reader:
        for _ in range(2):
            with pytest.raises(
                UserError, match=r"records became shorter while it was read: .*; copy or write"
            ):
                for number in range(reader._first, len(file.windows.spans)):
                    reader.advance(file.window(number))
    assert threading.active_count() == threads


def test_missing_file_is_one_error_line(file: File) -> None:
    file.path.unlink()
    with pytest.raises(UserError, match=r"cannot open .*records: it does not exist"):
        file.reader()


def test_closing_wakes_a_waiting_thread(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    # A read that takes as long as a dead server's, and ends when the test does.
    entered, leave = threading.Event(), threading.Event()

    class Stuck(windows_module._MappedFile):
        def load(self, start: int, stop: int) -> None:
            entered.set()
            leave.wait()

    monkeypatch.setattr(windows_module, "_MappedFile", Stuck)
    reader, raised = file.reader(), []

    def consume() -> None:
        try:
            reader.advance(file.window(0))
        except RuntimeError as error:
            raised.append(str(error))

    consumer, closer = threading.Thread(target=consume), threading.Thread(target=reader.close)
    consumer.start()
    entered.wait()
    closer.start()
    consumer.join(30)
    assert raised == ["the window reader is closed"] and closer.is_alive()
    leave.set()
    closer.join(30)
    assert not closer.is_alive()


def test_early_end_leaves_no_thread_descriptor_or_memory(file: File) -> None:
    gc.collect()
    threads = threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    for turn in range(50):
        reader = file.reader()
        if turn % 2:
            reader.advance(file.window(turn % 5)[:1])
        reader.close()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert not resident(file.memory).any()


# Written by stock ffcv, whose processes lay their pages between each other's.
_STOCK = """
import sys
import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.writer import DatasetWriter

class Images:
    def __len__(self): return 90
    def __getitem__(self, i): return np.full((200 + i, 300, 3), i, np.uint8), i

fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
DatasetWriter(sys.argv[1], fields, num_workers=3, page_size=2**21).from_indexed_dataset(Images(), chunksize=4)
"""


@pytest.mark.slow
def test_stock_ffcv_file_is_read_in_page_order(tmp_path: Path) -> None:
    path = tmp_path / "stock.beton"
    done = subprocess.run(
        [sys.executable, "-c", _STOCK, str(path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    drop(path)
    beton = open_beton(path)
    memory, pointers = beton.memory(), beton.images["data_ptr"]
    pages = cut_pages(pointers, beton.sizes)
    windows = page_windows(pages, window_bytes=6 * PAGE_BYTES, seed=0, epoch=3)
    assert len(windows.spans) > 3 and sorted(windows.order) == list(range(90))
    with WindowReader(path, memory, windows) as reader:
        for start, stop in pairwise(windows.starts):
            reader.advance(windows.order[start:stop])
            for sample in windows.order[start:stop]:
                begin, size = int(pointers[sample]), int(beton.sizes[sample])
                assert (memory[begin : begin + size] == sample).all()
                # A system page that a record shares with another window's may go with that one.
                assert resident(memory)[-(-begin // PAGESIZE) : (begin + size) // PAGESIZE].all()


def test_epoch_of_one_window_needs_no_next(file: File) -> None:
    whole = page_windows(
        cut_pages(file.pointers, np.full(COUNT, RECORD, np.uint64)), window_bytes=2**30, seed=0, epoch=0
    )
    assert len(whole.spans) == 1
    with WindowReader(file.path, file.memory, whole) as reader:
        reader.advance(whole.order)
        assert resident(file.memory).all()
