"""`python -m benchmarks copy`: batches from host memory to the GPU, pinned as our loader's, or pageable.

Copied are packed crops of yuv420 (their mean size), uint8 images, or float32 images, as from a loader that normalises
on the host. In turns, timed by the GPU's events. Needs a CUDA device: without one it ends with one line and exit code
2.
"""

import argparse
import itertools
from collections.abc import Sequence

import torch

from benchmarks.harness import arguments as opt
from benchmarks.harness.method import paired
from benchmarks.harness.processes.usage import MachineLoad
from benchmarks.harness.run_records import RunRecords
from benchmarks.harness.turns import Work, take_turns
from benchmarks.records.layouts import Record
from engine.errors import UserError
from engine.runs.machine import machine

# Bytes per output pixel. Random crops of yuv420, shortest side 256, have on average about as many pixels as the output,
# of 1.5 bytes each.
_BYTES = {"yuv420-packed": 1.5, "uint8": 3.0, "float32": 12.0}


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    if not torch.cuda.is_available():
        raise UserError("copy needs a CUDA device, and torch sees none: `python -m engine doctor` says why")
    device = torch.device("cuda")
    records = RunRecords(options.json)
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
        rate = {"ours_bytes_per_second": measured["ours_median"] * size / options.batch}
        records.add(_facts(what, side, options), measured, rate, load.facts)
    return records.end()


def _copy(size: int, device: torch.device, *, pinned: bool) -> Work:
    source = torch.zeros(size, dtype=torch.uint8, pin_memory=pinned)
    target = torch.empty(size, dtype=torch.uint8, device=device)
    return Work(call=lambda: target.copy_(source, non_blocking=pinned))


def _facts(what: str, side: int, options: argparse.Namespace) -> Record:
    """The part of a record that is known before the measurement."""
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
    parser = opt.Parser("copy", __doc__)
    names = list(_BYTES)
    add = parser.add_argument
    add(
        "--what",
        type=opt.list_of(opt.one_of(*names)),
        default=names,
        help=f"choices: {', '.join(names)} (default: all)",
    )
    parser.add_resolutions([128, 224])
    parser.add_batch(256)
    parser.add_rounds()
    parser.add_seconds(0.5)
    parser.add_json()
    options = parser.parse_args(argv)
    opt.check_files(None, options.json)
    return options
