"""`python -m benchmarks copy`: batches from host memory to the GPU, pinned as our loader's slots are, or not.

What is copied: packed crops of yuv420 (their mean size), uint8 images, or float32 images, as of a loader that
normalises on the host. Timed by the GPU's events, in turns. Needs a CUDA device: without one it ends with one line and
exit code 2.
"""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import options as opt
from benchmarks.load import MachineLoad
from benchmarks.method import LEAST_ROUNDS, paired
from benchmarks.recording import context, save
from benchmarks.table import Record, table
from benchmarks.turns import Work, take_turns
from engine.errors import UserError
from engine.report.machine import machine

# What is copied: bytes of one image of so many pixels on each side. Random crops of yuv420, shortest side 256, hold
# about as many pixels as the output on average, of 1.5 bytes each.
_BYTES = {"yuv420-packed": 1.5, "uint8": 3.0, "float32": 12.0}


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and write the records as asked for."""
    options = _parse(argv)
    if not torch.cuda.is_available():
        raise UserError("copy needs a CUDA device, and torch sees none: `python -m engine doctor` says why")
    device = torch.device("cuda")
    shared = context()
    records: list[Record] = []
    for what, side in itertools.product(options.what, options.resolution):
        size = round(_BYTES[what] * side * side * options.batch)
        print(f"{what}, {side} px, batch {options.batch}:", end="", flush=True)
        with MachineLoad(machine()["cores"]) as load:
            ours, peer = take_turns(
                [_copy(size, device, pinned=True), _copy(size, device, pinned=False)],
                device,
                rounds=options.rounds,
                seconds=options.seconds,
                tell=lambda word: print(f" {word}", end="", flush=True),
            )
        print(" ms", flush=True)
        measured = paired(*([options.batch / seconds for seconds in each] for each in (ours, peer)))
        records.append(
            {
                **_facts(what, side, options),
                **measured,
                "ours_bytes_per_second": measured["ours_median"] * size / options.batch,
                **load.facts,
                **shared,
            }
        )
        save(options.json, records)
    print(f"\n{table(records)}")
    return 0


def _copy(size: int, device: torch.device, *, pinned: bool) -> Work:
    source = torch.zeros(size, dtype=torch.uint8, pin_memory=pinned)
    target = torch.empty(size, dtype=torch.uint8, device=device)
    return Work(call=lambda: target.copy_(source, non_blocking=pinned))


def _facts(what: str, side: int, options: argparse.Namespace) -> Record:
    """A record's keys in the format that ENGINEERING.md fixes, as far as they are known beforehand, and more."""
    return {
        "stage": "copy",
        "ours": "pinned",
        "peer": "pageable",
        "what": what,
        "resolution": side,
        "scale": [1.0, 1.0],
        "cores": 1,
        "cache": "resident",
        "metric": "images_per_second",
        "data": "zeros, of the size of a batch",
        "form": f"{what}, from host memory to the GPU",
        "device": "cuda",
        "batch": options.batch,
        "turns": "in turns, in one process",
    }


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser(prog="python -m benchmarks copy", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    names = list(_BYTES)
    add("--what", type=opt.list_of(opt.one_of(*names)), default=names, help=f"of: {', '.join(names)} (all)")
    add(
        "--resolution",
        type=opt.list_of(opt.whole(8, 4096)),
        default=[128, 224],
        help="pixels (default: 128,224)",
    )
    add("--batch", type=opt.whole(1, 65536), default=256, help="images in a batch (default: 256)")
    add(
        "--rounds", type=opt.whole(LEAST_ROUNDS, 1000), default=LEAST_ROUNDS, help="of each side (default: 5)"
    )
    add("--seconds", type=opt.seconds, default=0.5, help="length of a round, about (default: 0.5)")
    add("--json", type=Path, metavar="FILE", help="write the records there, and a table beside it as .md")
    options = parser.parse_args(argv)
    opt.check_files(None, options.json)
    return options
