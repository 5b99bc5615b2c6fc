"""`python -m benchmarks read`: the images' bytes into memory, from the page cache or from the disk.

Our loader's two ways to read a .beton (mapped; windows of page-wise order) against one file for each image, tar shards,
and the whole file read from begin to end, which is what the disk can do. In turns, one thread, every image once a
round. Exit code 1: a comparison failed, or a side read other bytes.
"""

import argparse
import itertools
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import options as opt
from benchmarks import page_cache
from benchmarks.images import Images
from benchmarks.load import MachineLoad
from benchmarks.method import LEAST_ROUNDS, failed, paired
from benchmarks.peers import check_name
from benchmarks.readers import OURS, PEERS, Reader, files_of
from benchmarks.recording import context, save
from benchmarks.sizing import gather
from benchmarks.table import Record, table
from engine.errors import UserError

_CACHES = {"warm": page_cache.fill_all, "cold": page_cache.drop_all}


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and write the records as asked for."""
    options = _parse(argv)
    storages = {storage for _, storage in (*OURS.values(), *(PEERS[name] for name in options.against))}
    images = gather(storages, options.data, options.images)
    shared = context()
    # One thread is measured; the core is the first, as of a worker's.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    records: list[Record] = []
    for cache, peer, ours in itertools.product(options.cache, options.against, options.ours):
        print(f"{ours} against {peer}, cache {cache}:", end="", flush=True)
        with MachineLoad(1) as load:
            measured = _measure(OURS[ours], PEERS[peer], cache, images, options.rounds)
        facts = _facts(ours, peer, cache, images)
        records.append({**facts, **measured, **load.facts, **shared})
        save(options.json, records)
    print(f"\n{table(records)}")
    return 1 if any(record.get("failed") for record in records) else 0


def _measure(
    ours: tuple[Reader, str], peer: tuple[Reader, str], cache: str, images: Mapping[str, Images], rounds: int
) -> Record:
    taken: tuple[list[float], list[float]] = ([], [])
    number = images[ours[1]].num_samples
    try:
        # The first round warms up what a process does but once.
        for turn in range(1 + rounds):
            for rates, (read, storage) in zip(taken, (ours, peer), strict=True):
                rate = number / _seconds(read, storage, cache, images[storage])
                if turn:
                    rates.append(rate)
            if turn:
                print(f" {taken[0][-1] / taken[1][-1]:.2f}", end="", flush=True)
    except UserError as error:
        print(f" failed: {error}", flush=True)
        return failed(str(error))
    print(flush=True)
    measured = paired(*taken)
    each = images[ours[1]].bytes / number
    of_bytes = {f"{side}_bytes_per_second": measured[f"{side}_median"] * each for side in ("ours", "peer")}
    return {**measured, **of_bytes}


def _seconds(read: Reader, storage: str, cache: str, images: Images) -> float:
    _CACHES[cache](files_of(images, storage))
    begin = time.perf_counter()
    total = read(images)
    took = time.perf_counter() - begin
    if total != images.bytes:
        raise UserError(f"{total} bytes of images were read, not {images.bytes}")
    return took


def _facts(ours: str, peer: str, cache: str, images: Mapping[str, Images]) -> Record:
    """A record's keys in the format that ENGINEERING.md fixes, as far as they are known beforehand, and more."""
    of_ours, of_peer = images[OURS[ours][1]].identity, images[PEERS[peer][1]].identity
    different: Record = {} if of_ours == of_peer else {"peer_data": of_peer}
    settings = {
        f"{side}_settings": " ".join((way.__doc__ or "").split()) for side, way in _ways(ours, peer).items()
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


def _ways(ours: str, peer: str) -> dict[str, Reader]:
    return {"ours": OURS[ours][0], "peer": PEERS[peer][0]}


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser(prog="python -m benchmarks read", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--against", type=opt.list_of(str), action="extend", help=f"of: {', '.join(PEERS)} (default: all)")
    add("--ours", type=opt.list_of(str), default=list(OURS), help=f"of: {', '.join(OURS)} (default: both)")
    caches = opt.list_of(opt.one_of(*_CACHES))
    add(
        "--cache",
        type=caches,
        default=list(_CACHES),
        help="warm: in memory; cold: on the disk alone (default: both)",
    )
    opt.add_images(parser, "enough that they don't fit into the processor's cache")
    add("--data", type=Path, help="folder or tar of images (default: made-up photos)")
    add(
        "--rounds", type=opt.whole(LEAST_ROUNDS, 1000), default=LEAST_ROUNDS, help="of each side (default: 5)"
    )
    add("--json", type=Path, metavar="FILE", help="write the records there, and a table beside it as .md")
    options = parser.parse_args(argv)
    opt.check_files(options.data, options.json)
    options.against = list(dict.fromkeys(options.against or PEERS))
    for name in options.against:
        check_name("peer", name, PEERS)
    for name in options.ours:
        check_name("way of ours", name, OURS)
    return options
