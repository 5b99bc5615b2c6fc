"""`python -m benchmarks cluster`: what a conversion on many hosts takes: memory, files and time, from measured rates.

Plans and the merge are measured here with images of a few bytes, each in a process of its own: peak memory for some
images, for twice as many, and in more shards. What follows from that for --images is computed. Rates of the conversion
itself are given (--rate, --kilobytes: docs/guide/convert.md has measured ones), as are those of the disk.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness.arguments import Parser
from engine.progress import human_time

# A conversion's files for each shard: two of images, plan, progress, mark. The journals of those in work come to that.
_FILES = 5
_SHARDS_PER_HOST = 4
_MB = 1e6


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a step that holds lists of all images: peak memory beyond that at its start, and seconds of a core."""

    megabytes: float
    seconds: float


def main(argv: Sequence[str]) -> int:
    """Print the table; returns exit code 0."""
    parser = Parser("cluster", __doc__)
    parser.add_argument(
        "--images", type=int, default=13_000_000, help="images (default: ImageNet-21k, 13,000,000)"
    )
    parser.add_argument("--classes", type=int, default=21_841, help="classes (default: 21,841)")
    parser.add_argument("--hosts", default="1,8,64", help="numbers of hosts (default: 1,8,64)")
    parser.add_argument("--cores", type=int, default=16, help="cores of a host (default: 16)")
    parser.add_argument(
        "--rate", type=float, default=590, help="images per second and core (default: 590, yuv420)"
    )
    parser.add_argument(
        "--kilobytes", type=float, default=130, help="of a stored image (default: 130, yuv420)"
    )
    parser.add_argument(
        "--disk", type=float, default=1000, help="MB/s of the merging host's disk (default: 1000)"
    )
    parser.add_argument(
        "--measured", type=int, default=100_000, help="images that are measured (default: 100,000)"
    )
    options = parser.parse_args(argv)
    count, classes = options.measured, min(options.classes, options.measured)
    costs = {
        step: [
            measure(step, images, shards, classes)
            for images, shards in ((count, 8), (2 * count, 8), (count, 64))
        ]
        for step in ("plan", "merge")
    }
    print(f"| step | {count:,} images, 8 shards | {2 * count:,}, 8 | {count:,}, 64 | a further image |")
    print("|---|---|---|---|---|")
    for step, (one, two, many) in costs.items():
        each = (two.megabytes - one.megabytes) * _MB / count
        told = " | ".join(f"{cost.megabytes:.0f} MB, {cost.seconds:.1f} s" for cost in (one, two, many))
        print(f"| {step} | {told} | {each:.0f} B |")
    print()
    images = options.images
    plan, merge = (_at(images, count, *costs[step][:2]) for step in ("plan", "merge"))
    # Every byte is read and written once.
    merging = merge.seconds + 2 * images * options.kilobytes / 1000 / options.disk
    print(
        "| hosts | shards | files | driver | a shard's lists | merge | plans | convert | merging | in all |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for hosts in map(int, options.hosts.split(",")):
        shards = hosts * _SHARDS_PER_HOST
        convert = images / (hosts * options.cores * options.rate)
        sizes = [plan.megabytes / 1000, plan.megabytes / 1000 / shards, merge.megabytes / 1000]
        times = [plan.seconds, convert, merging, plan.seconds + convert + merging]
        cells = [f"{hosts}", f"{shards:,}", f"{shards * _FILES + 1:,}", *(f"{size:.2g} GB" for size in sizes)]
        print(f"| {' | '.join([*cells, *map(human_time, times)])} |")
    return 0


def _at(images: int, count: int, one: Cost, two: Cost) -> Cost:
    """The cost for so many images, from those for `count` and twice as many."""
    further = (images - count) / count
    return Cost(
        megabytes=one.megabytes + (two.megabytes - one.megabytes) * further,
        seconds=one.seconds + (two.seconds - one.seconds) * further,
    )


def measure(step: str, images: int, shards: int, classes: int) -> Cost:
    """The cost of "plan" or "merge" for so many images of a few bytes, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", __name__, step, folder, str(images), str(shards), str(classes)]
        if step == "merge":
            subprocess.run([*command[:3], "make", *command[4:]], check=True, stdout=subprocess.DEVNULL)
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def _names(first: int, count: int, classes: int) -> list[str]:
    """As ImageNet's."""
    return [
        f"n{number % classes:08d}/n{number % classes:08d}_{number}.JPEG"
        for number in range(first, first + count)
    ]


def _make(folder: Path, images: int, shards: int, classes: int) -> None:
    """Shards of images of one pixel each."""
    from engine.data.beton import layout
    from engine.data.beton.manifest import Manifest
    from engine.data.beton.writer import BetonWriter, image_fields
    from engine.data.convert.duplicates import digests_as_text
    from engine.data.storage import RAW

    names = tuple(f"n{number:08d}" for number in range(classes))
    for number in range(1, shards + 1):
        first, behind = images * (number - 1) // shards, images * number // shards
        count = behind - first
        entries = np.zeros(count, layout.IMAGE)
        entries["mode"], entries["width"], entries["height"] = RAW.mode, 1, 1
        labels = np.arange(first, behind, dtype=np.int64) % classes
        digests = b"".join(hashlib.md5(b"%d" % one).digest() for one in range(first, behind))
        manifest = Manifest(
            split="train",
            classes=names,
            ids=tuple(_names(first, count, classes)),
            source="image folder",
            source_numbers=tuple(range(first, behind)),
            counts={"samples": count, "raw": count},
            shard=f"{number}/{shards}",
            digests=digests_as_text(digests),
            found=images,
            found_digest="0",
        )
        with open(folder / f"train.{number}-of-{shards}.beton", "wb") as file:
            writer = BetonWriter(file, image_fields(RAW), 2**21, count)
            # crc32 of three zero bytes.
            writer.append(entries, labels, [3] * count, [0xFF41D912] * count, bytes(3 * count))
            writer.finish(manifest)


def _plan(folder: Path, images: int, shards: int, classes: int) -> None:
    """As the driver does: one list of all images, and the plans of all shards."""
    from engine.config.write import OutputConfig
    from engine.data.cluster.shard_folder import ShardFolder
    from engine.data.convert.conversion_plan import shard_plans
    from engine.data.sources.access.location import LocalPath
    from engine.data.sources.base import Source
    from engine.data.sources.image_folder import FolderReader

    ids = _names(0, images, classes)
    source = Source(
        kind="image folder",
        classes=[f"n{number:08d}" for number in range(classes)],
        labels=np.arange(images, dtype=np.int64) % classes,
        ids=ids,
        places=[f"/data/imagenet/train/{name}" for name in ids],
        reader=FolderReader(LocalPath("/data")),
    )
    target = ShardFolder(str(folder), {})
    for number, plan in enumerate(shard_plans(source, "train", OutputConfig(folder="out"), shards), start=1):
        target.write_plan(f"{number}/{shards}", {"train": plan})


def _merge(folder: Path, images: int, shards: int, classes: int) -> None:
    from engine.data.edit.merge import merge

    merge(folder / "train.beton", [folder / f"train.{one}-of-{shards}.beton" for one in range(1, shards + 1)])


def _run(step: str, folder: str, *numbers: str) -> None:
    """In the process that is measured."""
    import resource
    import time

    # Imported first, so that the memory of their code is not in the figures.
    import engine.data.cluster.sharded_conversion
    import engine.data.sources.image_folder  # noqa: F401

    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    {"make": _make, "plan": _plan, "merge": _merge}[step](Path(folder), *map(int, numbers))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"megabytes": (peak - before) / 1024, "seconds": time.process_time() - started}))


if __name__ == "__main__":
    _run(*sys.argv[1:])
