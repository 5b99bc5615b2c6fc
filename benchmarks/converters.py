"""The two sides of the convert stage: each turns an image folder into a .beton once, in a process of its own."""

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

_MOST_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What is to be done."""

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
    """What it took: wall and CPU seconds (of all processes), images and bytes written."""

    seconds: float
    cpu_seconds: float
    images: int
    bytes: int


def run(side: Callable[[Conversion], int], conversion: Conversion) -> Took:
    """Let a side do it in a fresh process, after its imports. Raises whatever it raises.

    Raises RuntimeError when its process dies, or has not answered after ten minutes.
    """
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, side, conversion))
    process.start()
    # Only the child may hold its end, or its death would go unnoticed here.
    theirs.close()
    try:
        if not pipe.poll(_MOST_SECONDS):
            raise RuntimeError(f"it has not ended after {_MOST_SECONDS} s")
        answer = pipe.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"its process ended with code {process.exitcode}") from None
    finally:
        # What ffcv and its libraries leave running may keep a process from ending by itself.
        process.kill()
        process.join()
        pipe.close()
    if isinstance(answer, Exception):
        raise answer
    assert isinstance(answer, Took)
    return answer


def _answer(pipe: Connection, side: Callable[[Conversion], int], conversion: Conversion) -> None:
    """The child's main function."""
    try:
        pipe.send(_timed(side, conversion))
    except Exception as error:  # noqa: BLE001 - raised again in the parent
        pipe.send(error)


def ours(conversion: Conversion) -> int:
    """write_dataset.py's conversion; returns the images written."""
    from engine.config.write_schema import OutputConfig, SourceConfig, WriteConfig
    from engine.data.beton import open_beton
    from engine.data.convert import convert

    output = OutputConfig(folder=str(conversion.output), num_workers=conversion.workers, **conversion.ours)
    with _clock():
        paths = convert(WriteConfig(source=SourceConfig(path=str(conversion.source)), output=output))
    return sum(open_beton(path).num_samples for path in paths.values())


def ffcv(conversion: Conversion) -> int:
    """ffcv's own writer, fed as ffcv-imagenet feeds it; its file is synced too. Returns the images written."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter
    from torchvision.datasets import ImageFolder

    # Its processes are forked, as where a script of its user starts them; here the way of this one's start would do.
    multiprocessing.set_start_method("fork", force=True)
    path = conversion.output / "train.beton"
    with _clock():
        images = ImageFolder(str(conversion.source / "train"))
        fields = {"image": RGBImageField(**conversion.peer), "label": IntField()}
        DatasetWriter(str(path), fields, num_workers=conversion.workers).from_indexed_dataset(images)
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    # They have nothing left to do, and their CPU time counts once they have ended.
    for process in multiprocessing.active_children():
        process.join()
    return len(images)


_seconds = _cpu_before = 0.0


@contextlib.contextmanager
def _clock() -> Iterator[None]:
    """What the block takes is the time that counts; imports before it don't."""
    global _seconds, _cpu_before
    started, _cpu_before = time.perf_counter(), _cpu_seconds()
    yield
    _seconds = time.perf_counter() - started


def _timed(side: Callable[[Conversion], int], conversion: Conversion) -> Took:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: conversion.workers])
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        images = side(conversion)
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
