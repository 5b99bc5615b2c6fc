"""Encoding in several processes, results in order, with an end that is always noticed.

A worker that raises ends the conversion with its error; one that is killed ends it within seconds; and
workers end by themselves when the parent is killed. Only a bounded number of chunks is under way, so memory
does not grow with the data set.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import cv2

from engine.data.chunk import Records, Task, encode_chunk
from engine.errors import UserError

# Chunks under way for each worker: one being encoded, one waiting for it, one waiting to be written.
_CHUNKS_PER_WORKER = 3


def default_workers() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def encode_in_order(tasks: Iterator[Task], num_workers: int) -> Generator[Records, None, None]:
    """The tasks' results in the tasks' order. One worker means: here, without another process.

    Raises UserError when an image cannot be used or a worker process dies.
    """
    if num_workers == 1:
        yield from map(encode_chunk, tasks)
        return
    # spawn, since this process has threads (numpy's, tqdm's), which make fork unsafe.
    pool = ProcessPoolExecutor(
        num_workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    try:
        yield from _run(pool, tasks, num_workers * _CHUNKS_PER_WORKER)
    except BrokenProcessPool:
        raise UserError(
            "an encoding process was killed, perhaps for lack of memory: start again, if need be with fewer "
            "--output.num_workers"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run(pool: ProcessPoolExecutor, tasks: Iterator[Task], most: int) -> Iterator[Records]:
    waiting: deque[Future[Records]] = deque()
    for task in tasks:
        # submit starts the processes.
        with _ctrl_c_held_back():
            waiting.append(pool.submit(encode_chunk, task))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextlib.contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Processes and threads started here never see Ctrl-C: this thread alone answers it, after the block."""
    # What is started inherits the mask. Here the mask is not enough: a thread of NumPy's may take the signal,
    # and Python would still answer it in this thread, amid the start.
    held: list[int] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    in_main = threading.current_thread() is threading.main_thread()
    answer = signal.signal(signal.SIGINT, lambda number, _: held.append(number)) if in_main else None
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGINT, answer)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if held:
        signal.raise_signal(signal.SIGINT)


def _start_worker() -> None:
    """Runs first in each worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # There is a process for each core already.
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the parent is gone: a killed parent cannot tell its workers to stop."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
