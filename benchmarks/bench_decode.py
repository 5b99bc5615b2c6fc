"""`python -m benchmarks decode`: images per second from records in memory to pixels, with no loader around it.

Each storage of ours against other libraries' decoders on the images' own JPEG data, by resolution, least crop area
(1: the centred square of the whole short side) and cores; as the loader stage compares, in turns, each side in a
process of its own. Exit code 1: a comparison failed, its sides had other labels or left images out, or
`--against self` found a difference.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import decoders
from benchmarks import options as opt
from benchmarks.case import Case
from benchmarks.comparing import Comparer, passed
from benchmarks.decoders import WHOLE
from benchmarks.load import MachineLoad
from benchmarks.method import LEAST_ROUNDS
from benchmarks.peers import SELF
from benchmarks.recording import context, save
from benchmarks.sizing import gather
from benchmarks.table import Record, table
from engine.report.machine import machine

_PIXELS = "uint8 RGB in host memory, a batch begun when it is asked for"
_PACKED = "the bytes of the crops as stored, packed, which are NOT yet pixels"


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and write the records as asked for."""
    options = _parse(argv)
    cases = _cases(options)
    shared = context()
    images = gather({storage for case in cases for storage in case.storages}, options.data, options.images)
    records: list[Record] = []
    with Comparer(images, options.data, options.images) as comparer:
        for number, case in enumerate(cases, 1):
            print(f"[{number}/{len(cases)}] {case}:", end="", flush=True)
            with MachineLoad(case.cores) as load:
                measured = comparer.measure(
                    case, rounds=options.rounds, seconds=options.seconds, longest=sys.maxsize
                )
            facts = {**case.record("decode", "images_per_second", images, measured), **load.facts}
            records.append({**facts, "crop": _crop(case.min_scale), **shared})
            save(options.json, records)
    print(f"\n{table(records)}")
    return 0 if all(map(passed, records)) else 1


def _crop(least: float) -> str:
    return "centred square" if least == WHOLE else f"random, {least:g}-1"


def _cases(options: argparse.Namespace) -> list[Case]:
    """Every combination that was asked for."""
    combined = itertools.product(options.cores, options.resolution, options.scale, options.pairs)
    return [
        decoder_case(ours, peer, cores=cores, resolution=resolution, scale=scale, batch=options.batch)
        for cores, resolution, scale, (ours, peer) in combined
    ]


def decoder_case(ours: str, peer: str, *, cores: int, resolution: int, scale: float, batch: int) -> Case:
    """The comparison of one of our decoders with a peer, by name; `scale`: the least area of a crop."""
    return Case(
        ours=ours,
        peer=peer,
        cores=cores,
        resolution=resolution,
        min_scale=scale,
        cache="warm",
        batch=batch,
        form="host",
        form_in_words=_form(ours, peer),
        contenders=(decoders.OURS[ours], decoders.OURS[ours] if peer == SELF else decoders.PEERS[peer]),
    )


def _form(ours: str, peer: str) -> str:
    if not ours.endswith("-packed"):
        return _PIXELS
    return _PACKED if peer == SELF else f"ours: {_PACKED}; the peer's: {_PIXELS}"


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser(prog="python -m benchmarks decode", description=__doc__, allow_abbrev=False)
    opt.add_images(parser, "enough that they don't fit into the processor's cache")
    add = parser.add_argument
    names = ", ".join([*decoders.PEERS, SELF, "all"])
    add("--against", type=opt.list_of(str), action="extend", help=f"of: {names} (default: opencv)")
    ours = ["jpeg", "jpeg-kept", "yuv420", "raw"]
    add(
        "--ours",
        type=opt.list_of(str),
        default=ours,
        help=f"of: {', '.join(decoders.OURS)} ({','.join(ours)})",
    )
    add("--data", type=Path, help="folder or tar of images (default: made-up photos)")
    add("--json", type=Path, metavar="FILE", help="write the records there, and a table beside it as .md")
    add("--batch", type=opt.whole(1, 65536), default=128, help="images in a batch (default: 128)")
    add(
        "--rounds", type=opt.whole(LEAST_ROUNDS, 1000), default=LEAST_ROUNDS, help="of each side (default: 5)"
    )
    add("--seconds", type=opt.seconds, default=1.0, help="length of a round, about (default: 1)")
    add(
        "--resolution",
        type=opt.list_of(opt.whole(8, 4096)),
        default=[128, 224],
        help="pixels (default: 128,224)",
    )
    add(
        "--scale",
        type=opt.list_of(opt.share),
        default=[0.08, 0.35, 1.0],
        help="least crop areas (0.08,0.35,1)",
    )
    every = list(range(1, machine()["cores"] + 1))
    add(
        "--cores",
        type=opt.list_of(opt.whole(1, 1024)),
        default=every,
        help="cores for each side (default: 1 to all)",
    )
    options = parser.parse_args(argv)
    options.pairs = decoders.pairs(options.against or [], options.ours)
    opt.check_files(options.data, options.json)
    opt.check_cores(options.cores)
    return options
