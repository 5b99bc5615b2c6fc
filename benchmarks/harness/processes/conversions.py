"""A conversion in a new process: started for each round, timed inside, and ended by force.

The side calls `clock` around its work, so that imports don't count.
"""

import contextlib
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.sides import Side

_MOST_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """One conversion."""

    source: Path
    """An image folder: train/<class>/ and val/<class>/."""
    output: Path
    """An empty folder."""
    workers: int
    """Encoding processes, and cores that all processes together may use."""
    ours: Mapping[str, Any] = field(default_factory=dict)
    """Options of OutputConfig."""
    peer: Mapping[str, Any] = field(default_factory=dict)
    """Options of ffcv's RGBImageField."""


@dataclass(frozen=True, kw_only=True)
class Took:
    """Wall and CPU seconds (of all processes), images and bytes written."""

    seconds: float
    cpu_seconds: float
    images: int
    bytes: int


def run(side: Side, conversion: Conversion) -> Took:
    """Let a side convert in a new process. Raises what the side raises.

    Raises RuntimeError when its process dies, or has not answered after ten minutes.
    """
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, side, conversion))
    process.start()
    # Only the child may hold its end, or its death would not be noticed here.
    theirs.close()
    try:
        if not pipe.poll(_MOST_SECONDS):
            raise RuntimeError(f"it has not ended after {_MOST_SECONDS} s")
        answer = pipe.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"its process ended with code {process.exitcode}") from None
    finally:
        # Threads of ffcv and its libraries may keep a process alive.
        process.kill()
        process.join()
        pipe.close()
    if isinstance(answer, Exception):
        raise answer
    assert isinstance(answer, Took)
    return answer


def _answer(pipe: Connection, side: Side, conversion: Conversion) -> None:
    """The child's main function."""
    try:
        pipe.send(_timed(side, conversion))
    except Exception as error:  # noqa: BLE001 - raised again in the parent
        pipe.send(error)


_seconds = _cpu_before = 0.0


@contextlib.contextmanager
def clock() -> Iterator[None]:
    """The time of this block counts, and nothing before it."""
    global _seconds, _cpu_before
    started, _cpu_before = time.perf_counter(), _cpu_seconds()
    yield
    _seconds = time.perf_counter() - started


def _timed(side: Side, conversion: Conversion) -> Took:
    convert: Callable[[Conversion], int] = side.load()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: conversion.workers])
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        images = convert(conversion)
    return Took(
        seconds=_seconds,
        cpu_seconds=_cpu_seconds() - _cpu_before,
        images=images,
        bytes=sum(path.stat().st_size for path in conversion.output.iterdir()),
    )


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
