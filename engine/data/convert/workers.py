"""Encoding in several processes, results in order; the death of a process never goes unnoticed.

A worker that raises ends the conversion with its error; one that is killed ends it within seconds; and workers end
by themselves when the parent is killed. Only a bounded number of chunks is under way, so memory does not grow with
the data set. Records come back through memory that all processes share, one slot for each chunk under way:

    worker: encodes a chunk -> copies its records into the chunk's slot -> sends their metadata
    parent: takes chunks in order -> reads the slot -> frees it by asking for the next chunk

The memory is an anonymous file that only takes what is written to it, so a slot may be as long as a chunk of the
largest records; nothing of it stays behind, whoever is killed. Systems without one (macOS) send the records with their
metadata, through a pipe, which copies them twice more.
"""

import contextlib
import mmap
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import FrameType, TracebackType

import cv2

from engine.data.convert.chunk import Records, Task, encode_chunk
from engine.data.storage.formats import import_modules, modules
from engine.errors import Interrupted, UserError
from engine.limits import free_memory, usable_cores
from engine.system import ENDING

# Chunks under way for each worker: one being encoded, one waiting for it, one waiting to be written.
_CHUNKS_PER_WORKER = 3

# A worker took up to 87 MB with photos (docs/guide/convert.md), and its chunks wait beside it.
_WORKER_BYTES = 128 * 2**20


def default_workers(conversions: int = 1, cores: int | None = None, free: int | None = None) -> int:
    """Encoding processes for each of so many conversions at once: one per core, or as many as memory has room for.

    `cores` and `free` (bytes) are what this process may use, unless given.
    """
    cores, free = cores or usable_cores(), free_memory() if free is None else free
    if (fit := max(conversions, free // _WORKER_BYTES)) < cores:
        print(
            f"note: {free / 1e6:,.0f} MB of memory are free: {fit} encoding processes, not {cores}",
            flush=True,
        )
    return max(1, min(cores, fit) // conversions)


Encoded = tuple[Records, memoryview]
"""A chunk's result and its records one after the other, valid until the next chunk is asked for."""


class Encoders:
    """`num_workers` processes that encode chunks of records of up to `max_bytes` each. Use as a context manager.

    One worker means: here, without another process. Processes are started when there is work for them.
    """

    def __init__(self, num_workers: int, max_bytes: int) -> None:
        self.num_workers = num_workers
        self._max_bytes = max_bytes
        self._slots = -1
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Encoders":
        if self.num_workers > 1:
            shared = hasattr(os, "memfd_create") and os.path.exists("/proc/self/fd")
            self._slots = os.memfd_create("records") if shared else -1
            self._pool = self._start_pool(f"/proc/{os.getpid()}/fd/{self._slots}" if shared else "")
        return self

    def _start_pool(self, slots: str) -> ProcessPoolExecutor:
        try:
            # spawn, since this process has threads (numpy's, tqdm's), which make fork unsafe.
            return ProcessPoolExecutor(
                self.num_workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(slots, modules()),
            )
        except OSError as error:
            # A semaphore takes some bytes of /dev/shm.
            raise UserError(
                f"no encoding processes can be started, as /dev/shm is full or can't be written ({error.strerror}): "
                "pass --output.num_workers=1, or make room there (docker run --shm-size=1g)"
            ) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            if self._slots >= 0:
                os.close(self._slots)

    def encode(self, tasks: Iterable[Task]) -> Generator[Encoded, None, None]:
        """The tasks' results in the tasks' order.

        Raises UserError when an image cannot be used or a worker process dies.
        """
        if self._pool is None:
            for task in tasks:
                records, payload = encode_chunk(task)
                yield records, memoryview(b"".join(payload))
            return
        try:
            yield from self._in_order(self._pool, tasks)
        except BrokenProcessPool:
            raise UserError(
                "an encoding process was killed, perhaps for lack of memory: start again, if need be with fewer "
                "--output.num_workers"
            ) from None

    def _in_order(self, pool: ProcessPoolExecutor, tasks: Iterable[Task]) -> Iterator[Encoded]:
        most = self.num_workers * _CHUNKS_PER_WORKER
        waiting: deque[tuple[Future[_Sent], int]] = deque()
        stride = 0
        for number, task in enumerate(tasks):
            # No chunk is longer than the first one.
            stride = stride or len(task.ids) * self._max_bytes
            if len(waiting) == most:
                yield self._result(*waiting.popleft())
            # The slot of the chunk that was yielded last, which is done with now that another one is asked for.
            place = number % most * stride
            # submit starts the processes.
            with ctrl_c_held_back():
                waiting.append((pool.submit(_encode_into_slot, task, place), place))
        while waiting:
            yield self._result(*waiting.popleft())

    def _result(self, future: "Future[_Sent]", place: int) -> Encoded:
        records, sent = future.result()
        if not records.bytes or self._slots < 0:
            return records, memoryview(sent)
        # Unmapped when nobody looks at it any more.
        slot = mmap.mmap(self._slots, records.bytes, prot=mmap.PROT_READ, offset=place)
        return records, memoryview(slot)


_Sent = tuple[Records, bytes]
"""What a worker sends: the records themselves only where there is no shared memory."""

# In a worker: the shared memory, or -1.
_slots = -1
# One call takes (IOV_MAX of Linux).
_MOST_BUFFERS = 1024


def _encode_into_slot(task: Task, place: int) -> _Sent:
    records, payload = encode_chunk(task)
    if _slots < 0:
        return records, b"".join(payload)
    left: list[memoryview] = [memoryview(record) for record in payload]
    while left:
        place += (written := os.pwritev(_slots, left[:_MOST_BUFFERS], place))
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
    return records, b""


@contextlib.contextmanager
def ctrl_c_held_back() -> Iterator[None]:
    """Processes and threads started here never see Ctrl-C: this thread alone answers it, after the block.

    The signals of `ended_by_signals` are answered after the block, too.
    """
    # What is started inherits the mask. Here the mask is not enough: a thread of NumPy's may take the signal,
    # and Python would still answer it in this thread, amid the start.
    held: list[int] = []
    masks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    in_main = threading.current_thread() is threading.main_thread()
    every = (signal.SIGINT, *ENDING) if in_main else ()
    answers = {one: signal.signal(one, lambda number, _: held.append(number)) for one in every}
    try:
        yield
    finally:
        for one, answer in answers.items():
            signal.signal(one, answer)
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if held:
        signal.raise_signal(held[0])


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """In the block SIGTERM and SIGUSR1 raise Interrupted, as Ctrl-C raises KeyboardInterrupt: so workers are ended,
    and what is done is kept. Nothing changes in another thread, or where somebody answers them already.
    """
    in_main = threading.current_thread() is threading.main_thread()
    ours = [one for one in ENDING if in_main and signal.getsignal(one) is signal.SIG_DFL]

    def answer(number: int, frame: FrameType | None) -> None:
        # A second one would disturb the keeping.
        for one in ours:
            signal.signal(one, signal.SIG_IGN)
        raise Interrupted(f"{signal.Signals(number).name}: start the same command again to resume")

    for one in ours:
        signal.signal(one, answer)
    try:
        yield
    finally:
        for one in ours:
            signal.signal(one, signal.SIG_DFL)


def _start_worker(slots: str, formats: list[str]) -> None:
    """Runs first in each worker process. `formats`: the modules of the storage formats that the parent knows."""
    global _slots
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_modules(formats)
    # There is a process for each core already.
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    try:
        _slots = os.open(slots, os.O_RDWR) if slots else -1
    except FileNotFoundError:
        # The parent was killed meanwhile.
        os._exit(1)


def _end_with_parent() -> None:
    """End this process when the parent is gone: a killed parent cannot tell its workers to stop."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
