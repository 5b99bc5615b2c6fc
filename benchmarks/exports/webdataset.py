"""Tar shards as webdataset reads them: `sample.jpg` beside `sample.cls`, the label as a decimal number.

At least eight shards where there are images enough, so that each of a few workers has some of its own, and more for
many images. Samples are dealt out in turn, as if they had been shuffled before writing, which webdataset recommends.
"""

import io
import tarfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.exports import jpegs
from engine.data.beton import open_beton

_LEAST_SHARDS, _MOST_SHARDS, _IMAGES_EACH = 8, 128, 512


def write(beton: Path, folder: Path) -> None:
    """All shards at once: a sample goes to the next one."""
    number = open_beton(beton).num_samples
    shards = min(number, max(_LEAST_SHARDS, min(_MOST_SHARDS, number // _IMAGES_EACH)))
    with ExitStack() as opened:
        tars = [
            opened.enter_context(tarfile.open(folder / f"shard-{shard:05d}.tar", "w"))
            for shard in range(shards)
        ]
        for sample, (jpeg, label) in enumerate(jpegs(beton)):
            for ending, data in (("jpg", jpeg), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{sample:08d}.{ending}")
                member.size = len(data)
                tars[sample % shards].addfile(member, io.BytesIO(data))
