"""`python -m benchmarks read`: read the images' bytes into memory, from the page cache or from the disk.

Our loader's two ways to read a .beton (mapped; windows of page-wise order) against one file for each image, tar shards,
and the whole file in order, which is the disk's limit. In turns, one thread, each image once a round. Exit code 1: a
comparison failed, or a side read other bytes.
"""

import argparse
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.harness import arguments as opt
from benchmarks.harness.images import file_cache
from benchmarks.harness.images.prepared import Images
from benchmarks.harness.images.sizing import gather
from benchmarks.harness.method import failed, paired
from benchmarks.harness.processes.usage import MachineLoad
from benchmarks.harness.run_records import RunRecords
from benchmarks.records.layouts import Record
from benchmarks.sides import OURS, PEERS, Side, check_name, our_side, peer_side
from engine.errors import UserError

_CACHES = {"warm": file_cache.fill_all, "cold": file_cache.drop_all}


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    sides = [*OURS["read"].values(), *(peer_side("read", name) for name in options.against)]
    images = gather({side.storage for side in sides}, options.data, options.images)
    records = RunRecords(options.json)
    # One thread is measured, on the first core, as a worker's.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    for cache, peer, ours in itertools.product(options.cache, options.against, options.ours):
        print(f"{ours} against {peer}, cache {cache}:", end="", flush=True)
        with MachineLoad(1) as load:
            sides = [our_side("read", ours), peer_side("read", peer)]
            measured = _measure(sides, cache, images, options.rounds)
        records.add(_facts(ours, peer, cache, images), measured, load.facts)
    return records.end()


def _measure(sides: Sequence[Side], cache: str, images: Mapping[str, Images], rounds: int) -> Record:
    taken: tuple[list[float], list[float]] = ([], [])
    given = [images[side.storage] for side in sides]
    number = given[0].num_samples
    try:
        # The first round is a warm-up.
        for turn in range(1 + rounds):
            for rates, side, known in zip(taken, sides, given, strict=True):
                rate = number / _seconds(side.load(), cache, known)
                if turn:
                    rates.append(rate)
            if turn:
                print(f" {taken[0][-1] / taken[1][-1]:.2f}", end="", flush=True)
    except UserError as error:
        print(f" failed: {error}", flush=True)
        return failed(str(error))
    print(flush=True)
    measured = paired(*taken)
    each = given[0].bytes / number
    of_bytes = {f"{side}_bytes_per_second": measured[f"{side}_median"] * each for side in ("ours", "peer")}
    return {**measured, **of_bytes}


def _seconds(read: Callable[[Images], int], cache: str, images: Images) -> float:
    _CACHES[cache](images.files)
    begin = time.perf_counter()
    total = read(images)
    took = time.perf_counter() - begin
    if total != images.bytes:
        raise UserError(f"{total} bytes of images were read, not {images.bytes}")
    return took


def _facts(ours: str, peer: str, cache: str, images: Mapping[str, Images]) -> Record:
    """The part of a record that is known before the measurement."""
    sides = {"ours": our_side("read", ours), "peer": peer_side("read", peer)}
    of_ours, of_peer = (images[side.storage].identity for side in sides.values())
    different: Record = {} if of_ours == of_peer else {"peer_data": of_peer}
    settings = {
        f"{name}_settings": " ".join((side.load().__doc__ or "").split()) for name, side in sides.items()
    }
    return {
        "stage": "read",
        "ours": ours,
        "peer": peer,
        "resolution": 0,
        "scale": [1.0, 1.0],
        "cores": 1,
        "cache": cache,
        "metric": "images_per_second",
        "data": of_ours,
        **different,
        **settings,
        "form": "the JPEG data of each image once, in memory",
        "device": "cpu",
        "batch": 1,
        "turns": "in turns, in one process that is pinned to a core",
    }


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("read", __doc__)
    add = parser.add_argument
    add(
        "--against",
        type=opt.list_of(str),
        action="extend",
        help=f"choices: {', '.join(PEERS['read'])} (default: all)",
    )
    add(
        "--ours",
        type=opt.list_of(str),
        default=list(OURS["read"]),
        help=f"choices: {', '.join(OURS['read'])} (default: both)",
    )
    caches = opt.list_of(opt.one_of(*_CACHES))
    add(
        "--cache",
        type=caches,
        default=list(_CACHES),
        help="warm: in memory; cold: on the disk alone (default: both)",
    )
    parser.add_images(opt.NOT_IN_CACHE)
    parser.add_data()
    parser.add_rounds()
    parser.add_json()
    options = parser.parse_args(argv)
    opt.check_files(options.data, options.json)
    options.against = list(dict.fromkeys(options.against or PEERS["read"]))
    for name in options.against:
        check_name("peer", name, PEERS["read"])
    for name in options.ours:
        check_name("side of ours", name, OURS["read"])
    return options
