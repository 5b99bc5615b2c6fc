"""`python -m benchmarks loader`: images per second from a .beton to ready batches, our Loader against others'.

Both sides get the same images, crop by the same law, flip, and resize, with the same batch size on the same
cores, in turns; the files they read may store the images in different ways. Before, each side goes through a file of
each image once, and has to give each of them once. Exit code 1: a comparison failed, its sides had other labels or left
images out, or `--against self` found a difference.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import options as opt
from benchmarks import page_cache
from benchmarks.case import Case
from benchmarks.first_epoch import FirstEpochs
from benchmarks.images import PHOTOS, Images, prepare
from benchmarks.load import MachineLoad
from benchmarks.method import LEAST_BATCHES, Timed, compare, failed, figures
from benchmarks.recording import context, save
from benchmarks.sizing import gather
from benchmarks.table import Record, table
from benchmarks.worker import UNTIMED_BATCHES, ContenderError, Worker
from engine.data.beton import open_beton
from engine.errors import UserError
from engine.report.machine import machine

_COMPARED_IMAGES = 64

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
    once = _Once(options)
    records: list[Record] = []
    for number, case in enumerate(cases, 1):
        print(f"[{number}/{len(cases)}] {case}:", end="", flush=True)
        with MachineLoad(case.cores) as load:
            measured = _measure(case, images, options, once)
        facts = {**case.record("loader", "images_per_second", images, measured), **load.facts}
        records.append({**facts, **shared})
        save(options.json, records)
    print(f"\n{table(records)}")
    return 0 if all(map(_passed, records)) else 1


class _Once:
    """Whether a side gives each image of a file once, found out the first time that it is asked for."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._count = options.images if options.images and options.images <= PHOTOS else None
        self._found: dict[str, bool] = {}

    def __call__(self, case: Case) -> bool:
        """Of both sides. Raises ContenderError."""
        return self._one(case.ours, case, case.open_ours) and self._one(case.peer, case, case.open_peer)

    def _one(self, name: str, case: Case, open_side: Callable[[Mapping[str, Images]], Worker]) -> bool:
        if name not in self._found:
            images = {
                storage: prepare(self._options.data, storage, self._count) for storage in set(case.storages)
            }
            expected = np.sort(open_beton(images[case.storages[0]].beton).labels)
            with open_side(images) as worker:
                self._found[name] = np.array_equal(worker.one_pass(), expected)
        return self._found[name]


def _measure(
    case: Case, images: Mapping[str, Images], options: argparse.Namespace, once: Callable[[Case], bool]
) -> Record:
    compared = partial(
        compare,
        rounds=options.rounds,
        seconds=options.seconds,
        longest=_longest(case, images),
        compared_images=min(_COMPARED_IMAGES, *(known.num_samples for known in images.values())),
        tell=lambda word: print(f" {word}", end="", flush=True),
    )
    files = [images[storage].files for storage in case.storages]
    try:
        each_once = once(case)
        if case.cache == "warm":
            for read in files:
                page_cache.fill_all(read)
            with case.open_ours(images) as ours, case.open_peer(images) as peer:
                comparison = compared(ours, peer)
        else:
            openers = partial(case.open_ours, images), partial(case.open_peer, images)
            comparison = compared(*(_first(case, *side) for side in zip(openers, files, strict=True)))
    except ContenderError as error:
        print(f" failed: {error}", flush=True)
        return failed(str(error))
    ratio = comparison.ratio
    print(f" -> {ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]", flush=True)
    return {**figures(comparison), "each_image_once": each_once}


def _first(case: Case, open_worker: Callable[[], Worker], files: Sequence[Path]) -> Timed:
    set_cache = page_cache.fill_all if case.cache == "first" else page_cache.drop_all
    return FirstEpochs(open_worker, partial(set_cache, files))


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


def _passed(record: Record) -> bool:
    """The same work must have been done, and equals come out equal; any other ratio is a finding, not a failure."""
    if record.get("error") or not (record["labels_equal"] and record["each_image_once"]):
        return False
    ratio = record["ratio"]
    return bool(record["peer"] != "self" or ratio["low"] <= 1 <= ratio["high"])


def _cases(options: argparse.Namespace) -> list[Case]:
    """Every combination that was asked for."""
    combined = itertools.product(
        options.cache, options.pairs, options.cores, options.resolution, options.scale
    )
    return [
        Case(
            ours=ours,
            peer=peer,
            cores=cores,
            resolution=resolution,
            min_scale=scale,
            cache=cache,
            batch=options.batch,
            form=options.form,
        )
        for cache, (ours, peer), cores, resolution, scale in combined
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
    add("--seconds", type=float, default=3.0, help="length of a round, about (default: 3)")
    options = opt.parse(parser, argv)
    opt.check_cores(options.cores)
    if not 0 < options.seconds <= 3600:
        raise UserError(f"--seconds {options.seconds}: give a number above 0, at most 3600")
    return options
