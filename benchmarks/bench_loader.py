"""`python -m benchmarks loader`: images per second from a .beton to ready batches, our Loader against others'.

Both sides get the same images, crop by the same law, flip, and resize, with the same batch size on the same
cores, in turns; the files they read may store the images in different ways. Before, each side goes through a file of
each image once, and has to give each of them once. Exit code 1: a comparison failed, its sides had other labels or left
images out, or `--against self` found a difference.
"""

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence

from benchmarks import options as opt
from benchmarks.case import Case, loader_case
from benchmarks.comparing import Comparer, passed
from benchmarks.images import Images
from benchmarks.load import MachineLoad
from benchmarks.method import LEAST_BATCHES
from benchmarks.recording import context, save
from benchmarks.sizing import gather
from benchmarks.table import Record, table
from benchmarks.worker import UNTIMED_BATCHES
from engine.errors import UserError
from engine.report.machine import machine

_CACHES = {
    "warm": "the file lies in memory and each side has read the images before, as in a run's later epochs",
    "first": "the file lies in memory, but each round is a new process that reads each image for the first time",
    "cold": "as first, and the file is on the disk alone when a round begins",
}


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and write the records as asked for."""
    options = _parse(argv)
    if opt.gpu_is_missing(options.form):
        return 0
    cases = _cases(options)
    shared = context()
    images = gather({storage for case in cases for storage in case.storages}, options.data, options.images)
    records: list[Record] = []
    with Comparer(images, options.data, options.images) as comparer:
        for number, case in enumerate(cases, 1):
            print(f"[{number}/{len(cases)}] {case}:", end="", flush=True)
            with MachineLoad(case.cores) as load:
                measured = comparer.measure(
                    case, rounds=options.rounds, seconds=options.seconds, longest=_longest(case, images)
                )
            facts = {**case.record("loader", "images_per_second", images, measured), **load.facts}
            records.append({**facts, **shared})
            save(options.json, records)
    print(f"\n{table(records)}")
    return 0 if all(map(passed, records)) else 1


def _longest(case: Case, images: Mapping[str, Images]) -> int:
    """Batches that a round may have; in a first epoch no image comes twice."""
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
    parser = opt.stage_parser("loader", __doc__, batch=128)
    opt.add_images(parser, "enough that they don't fit into the processor's cache")
    opt.add_form(parser)
    add = parser.add_argument
    resolutions, scales, cores = [128, 160, 192, 224], [0.08, 0.35], sorted({1, machine()["cores"]})
    caches = "; ".join(f"{name}: {text}" for name, text in _CACHES.items())
    add("--cache", type=opt.list_of(opt.one_of(*_CACHES)), default=["warm"], help=f"{caches} (default: warm)")
    add(
        "--resolution",
        type=opt.list_of(opt.whole(8, 4096)),
        default=resolutions,
        help="pixels (default: 128,160,192,224)",
    )
    add("--scale", type=opt.list_of(opt.share), default=scales, help="least crop areas (default: 0.08,0.35)")
    add(
        "--cores",
        type=opt.list_of(opt.whole(1, 1024)),
        default=cores,
        help="cores for each side (default: 1 and all)",
    )
    add("--seconds", type=opt.seconds, default=3.0, help="length of a round, about (default: 3)")
    options = opt.parse(parser, argv)
    opt.check_cores(options.cores)
    return options
