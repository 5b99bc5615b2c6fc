"""`python -m benchmarks techniques`: what each technique costs in the time of a training step.

A whole step, augmentation included, over made-up images that lie ready; with the technique and without it in turns,
on the GPU where there is one and else on the CPU. With --doc the tables of docs/techniques.md are written anew from
the newest record under benchmarks/results/ and from the recipes; nothing is measured then.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import options as opt
from benchmarks.method import LEAST_ROUNDS, paired
from benchmarks.recording import context, save
from benchmarks.table import Record, table
from benchmarks.techniques import PLAIN, TECHNIQUES, WEIGHTS, Technique
from engine.report.machine import machine

MEASURED = tuple(technique for technique in TECHNIQUES if not technique.cost)


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and write the records as asked for."""
    options = _parse(argv)
    if options.doc:
        from benchmarks.techniques_page import write_tables

        print(write_tables(options.doc))
        return 0
    from benchmarks.step_here import set_up_device

    device, shared = set_up_device(), context()
    precision = options.precision or ("bf16" if device.type == "cuda" else "fp32")
    plain = {**PLAIN, "training.precision": precision}
    records: list[Record] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "weights.pt")
        for technique in MEASURED:
            if options.only and technique.name not in options.only:
                continue
            print(f"{technique.name}:", end="", flush=True)
            measured = _measure(technique, plain, weights, options)
            facts = _facts(technique, precision, options, device.type)
            records.append({**facts, **measured, **shared})
            save(options.json, records)
    print(f"\n{table(records)}")
    return 0


def _measure(
    technique: Technique, plain: Mapping[str, Any], weights: Path, options: argparse.Namespace
) -> Record:
    import torch

    from benchmarks.step_here import CLASSES, TrainingStep, ranks_here, set_up_device, step_config
    from benchmarks.turns import Work, take_turns
    from engine.models.build import build_model

    if WEIGHTS in technique.options.values() and not weights.exists():
        arch = technique.options["loss.teacher_arch"]
        torch.save(build_model(arch, CLASSES, use_blurpool=False).state_dict(), weights)
    device = set_up_device()
    sides = []
    for asked in (technique.options, technique.without):
        named = {key: weights if value == WEIGHTS else value for key, value in asked.items()}
        config = step_config(options.arch, options.batch, {**plain, **named})
        sides.append(Work(call=TrainingStep(config, ranks_here(device), side=options.resolution)))
    taken = take_turns(
        sides,
        device,
        rounds=options.rounds,
        seconds=options.seconds,
        tell=lambda word: print(f" {word}", end="", flush=True),
    )
    print(" ms", flush=True)
    return paired(*taken)


def _facts(technique: Technique, precision: str, options: argparse.Namespace, device: str) -> Record:
    """A record's keys in the format that ENGINEERING.md fixes, as far as they are known beforehand."""
    return {
        "stage": "techniques",
        "ours": technique.name,
        "peer": "without",
        "resolution": options.resolution,
        "scale": [1.0, 1.0],
        "cores": machine()["cores"],
        "cache": "warm",
        "metric": "seconds_per_step",
        "options": dict(technique.options),
        "without": dict(technique.without),
        "arch": options.arch,
        "precision": str(technique.options.get("training.precision", precision)),
        "data": "random numbers",
        "form": f"{options.arch}, {', '.join(f'{key}={value}' for key, value in PLAIN.items())} where nothing is said",
        "device": device,
        "batch": options.batch,
        "turns": "in turns, in one process",
    }


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    names = [technique.name for technique in MEASURED]
    parser = opt.Parser(prog="python -m benchmarks techniques", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--only", action="append", choices=names, help="measure this one alone; may be given several times")
    add("--arch", default="resnet50", help="network (default: resnet50)")
    add("--json", type=Path, metavar="FILE", help="write the records there, and a table beside it as .md")
    add("--doc", type=Path, metavar="FILE", help="write this file's tables anew and measure nothing")
    add("--resolution", type=opt.whole(16, 4096), default=64, help="pixels (default: 64)")
    add("--precision", choices=("fp32", "bf16"), help="of the plain step (default: bf16 on a GPU, else fp32)")
    add("--batch", type=opt.whole(8, 65536), default=16, help="images in a step (default: 16)")
    add(
        "--rounds", type=opt.whole(LEAST_ROUNDS, 1000), default=LEAST_ROUNDS, help="of each side (default: 5)"
    )
    add("--seconds", type=opt.seconds, default=0.5, help="length of a round, about (default: 0.5)")
    options = parser.parse_args(argv)
    opt.check_files(None, options.json)
    return options
