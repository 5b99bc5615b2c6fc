"""`python -m benchmarks loader`: images per second from a .beton to ready batches, our Loader against others.

Both sides get the same images, crop by the same rule, flip and resize, with the same batch size on the same cores, in
turns; their files may store the images in different ways. First each side reads a file of each image once and has to
deliver each of them once. Exit code 1: a comparison failed, labels differed, images were left out, or `--against self`
found a difference.
"""

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence

from benchmarks.harness import arguments as opt
from benchmarks.harness.case import Case, loader_case
from benchmarks.harness.comparing import Comparer, passed
from benchmarks.harness.images.prepared import Images
from benchmarks.harness.images.sizing import gather
from benchmarks.harness.method import LEAST_BATCHES
from benchmarks.harness.processes.serving import UNTIMED_BATCHES
from benchmarks.harness.processes.usage import MachineLoad
from benchmarks.harness.run_records import RunRecords
from engine.errors import UserError
from engine.runs.machine import machine

_CACHES = {
    "warm": "the file is in memory and each side has read the images before, as in a run's later epochs",
    "first": "the file is in memory, but each round is a new process that reads each image for the first time",
    "cold": "as first, and the file is on the disk alone when a round begins",
}


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    if opt.gpu_is_missing(options.form):
        return 0
    cases = _cases(options)
    records = RunRecords(options.json)
    images = gather({storage for case in cases for storage in case.storages}, options.data, options.images)
    with Comparer(images, options.data, options.images) as comparer:
        for number, case in enumerate(cases, 1):
            print(f"[{number}/{len(cases)}] {case}:", end="", flush=True)
            with MachineLoad(case.cores) as load:
                measured = comparer.measure(
                    case, rounds=options.rounds, seconds=options.seconds, longest=_longest(case, images)
                )
            records.add(case.record("loader", "images_per_second", images, measured), load.facts)
    return records.end(passed)


def _longest(case: Case, images: Mapping[str, Images]) -> int:
    """Most batches of a round; in a first epoch no image may come twice."""
    if case.cache == "warm":
        return sys.maxsize
    fewest = min(images[storage].num_samples for storage in case.storages)
    longest = fewest // case.batch - UNTIMED_BATCHES
    if longest < LEAST_BATCHES:
        needed = (UNTIMED_BATCHES + LEAST_BATCHES) * case.batch
        raise UserError(f"--cache {case.cache} needs {needed} images or more, not {fewest}: raise --images")
    return longest


def _cases(options: argparse.Namespace) -> list[Case]:
    """Every combination that was asked for."""
    # Pairs last: our side's process is then the same for one peer after the other.
    combined = itertools.product(
        options.cache, options.cores, options.resolution, options.scale, options.pairs
    )
    return [
        loader_case(
            ours=ours,
            peer=peer,
            cores=cores,
            resolution=resolution,
            min_scale=scale,
            cache=cache,
            batch=options.batch,
            form=options.form,
        )
        for cache, cores, resolution, scale, (ours, peer) in combined
    ]


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.loader_parser("loader", __doc__, batch=128)
    parser.add_images(opt.NOT_IN_CACHE)
    parser.add_form()
    add = parser.add_argument
    scales, cores = [0.08, 0.35], sorted({1, machine()["cores"]})
    caches = "; ".join(f"{name}: {text}" for name, text in _CACHES.items())
    add("--cache", type=opt.list_of(opt.one_of(*_CACHES)), default=["warm"], help=f"{caches} (default: warm)")
    parser.add_resolutions([128, 160, 192, 224])
    add(
        "--scale",
        type=opt.list_of(opt.share),
        default=scales,
        help="smallest crop areas, as a fraction of the image (default: 0.08,0.35)",
    )
    add(
        "--cores",
        type=opt.list_of(opt.whole(1, 1024)),
        default=cores,
        help="cores for each side (default: 1 and all)",
    )
    parser.add_seconds(3.0)
    options = opt.parse_loaders(parser, argv)
    opt.check_cores(options.cores)
    return options
