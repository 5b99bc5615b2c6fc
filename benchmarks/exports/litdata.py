"""Chunks as litdata.optimize writes them: of each sample its JPEG data as bytes, its label and its number.

64 MB a chunk, as litdata recommends; eight chunks where that would be fewer, so that workers have some of their own.
"""

import importlib
import multiprocessing
from pathlib import Path

from benchmarks.exports import jpegs
from engine.data.beton import open_beton
from engine.errors import UserError

_CHUNK = "64MB"
_LEAST_CHUNKS = 8


def write(beton: Path, folder: Path) -> None:
    """By litdata's own writer, in a process of its own: it imports torch, and the measuring process must not."""
    process = multiprocessing.get_context("spawn").Process(target=_optimize, args=(beton, folder))
    process.start()
    process.join()
    if process.exitcode:
        raise UserError(
            f"litdata could not write {folder} (exit code {process.exitcode}); its message is above"
        )


def _optimize(beton: Path, folder: Path) -> None:
    writers = importlib.import_module("litdata.streaming.writer")
    opened = open_beton(beton)
    each = -(-opened.num_samples // _LEAST_CHUNKS)
    small = int(opened.sizes.sum()) < _LEAST_CHUNKS * 64_000_000
    writer = writers.BinaryWriter(str(folder), **({"chunk_size": each} if small else {"chunk_bytes": _CHUNK}))
    for sample, (jpeg, label) in enumerate(jpegs(beton)):
        writer[sample] = {"image": jpeg, "label": label, "sample": sample}
    writer.done()
    writer.merge()
