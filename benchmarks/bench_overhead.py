"""`python -m benchmarks overhead`: what the training loop costs beside its steps.

An epoch of engine.train.trainer.Trainer as a run has it (order, learning rate, losses looked at, averaged weights,
progress bar, log and report) over batches that lie on the device, against as many bare steps (forward, loss,
backward, update) on the same network and batches, in one process. A round is one such epoch, within which five bare
steps go before each five of the loop's, so that a machine whose speed drifts over seconds hits both alike. Each epoch
ends with a line in the log and a report, whatever its length: short ones make the loop look dear.

Exit code 1: the whole interval of what it costs lies above 2%. One that spans 2% is "undecided", and no failure.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import options as opt
from benchmarks.method import LEAST_ROUNDS, failed, paired
from benchmarks.overhead_verdict import sentence, verdict
from benchmarks.recording import context, save
from benchmarks.steps import PRECISIONS, LoopContender, LoopRound, LoopTask, StepTask
from benchmarks.steps.answers import LOOP_ANSWERS
from benchmarks.table import Record, table
from benchmarks.worker import ContenderError, Worker
from engine.report.machine import machine

# By device: network, size, batch. On a CPU one whose step takes 50 to 100 ms.
_USUAL = {"cuda": ("resnet50", 192, 256), "cpu": ("small_resnet", 32, 128)}


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and write the records as asked for."""
    options = _parse(argv)
    shared = context()
    records: list[Record] = []
    for compiled in options.compile:
        with tempfile.TemporaryDirectory() as folder:
            task = _task(options, compiled, Path(folder))
            measured = _measure(task, options.rounds)
        records.append({**_facts(task), **measured, **shared})
        save(options.json, records)
    print(f"\n{table(records)}")
    for record in records:
        if not record.get("error"):
            print(record["verdict"])
    return 0 if all(map(passed, records)) else 1


def _measure(task: LoopTask, rounds: int) -> Record:
    size = f"{task.resolution} px, batch {task.batch}, {task.steps} steps a round"
    print(f"{task.step}, {size}:", end="", flush=True)
    taken: list[LoopRound] = []
    try:
        with Worker("loop", LoopContender(), task, answers=LOOP_ANSWERS) as worker:
            # To warm up.
            worker.ask("round")
            for _ in range(rounds):
                taken.append(worker.ask("round"))
                print(f" {taken[-1].loop / taken[-1].bare:.3f}", end="", flush=True)
            how = worker.settings()
            worker.ask("close")
    except ContenderError as error:
        print(f" failed: {error}", flush=True)
        return failed(str(error))
    print(flush=True)
    measured = paired([each.loop for each in taken], [each.bare for each in taken])
    return {
        **measured,
        "overhead": round(1 / measured["ratio"]["median"] - 1, 5),
        "verdict": sentence(measured["ratio"]),
        "other_cores": round(max(each.other_cores for each in taken), 3),
        "ours_settings": how,
    }


def passed(record: Record) -> bool:
    """Whether it was measured and not found to cost too much, beyond the noise."""
    return not record.get("error") and verdict(record["ratio"]) != "over"


def _facts(task: LoopTask) -> Record:
    """A record's keys in the format that ENGINEERING.md fixes, as far as they are known beforehand, and more."""
    return {
        "stage": "overhead",
        "ours": "loop",
        "peer": "bare step",
        "resolution": task.resolution,
        "scale": [1.0, 1.0],
        "cores": task.cores,
        "cache": "resident",
        "metric": "images_per_second",
        "data": f"noise and random labels of {task.batch} images, four batches in turn, on the device",
        "form": f"{task.step}, {task.steps} steps a round",
        "device": task.device,
        "batch": task.batch,
        "arch": task.step.arch,
        "precision": task.step.precision,
        "blurpool": task.step.blurpool,
        "compile": task.step.compile,
        "steps": task.steps,
        "turns": "in turns of five steps in one process, on the same network and batches",
    }


def _task(options: argparse.Namespace, compiled: str, folder: Path) -> LoopTask:
    return LoopTask(
        step=StepTask(
            arch=options.arch,
            blurpool=options.blurpool == "on",
            precision=options.precision,
            compile=compiled == "on",
            device=options.device,
            cores=machine()["cores"],
        ),
        resolution=options.resolution,
        batch=options.batch,
        steps=options.steps,
        folder=folder,
    )


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser(prog="python -m benchmarks overhead", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: a GPU where there is one")
    add("--arch", help="network, as model.arch (default: resnet50 on a GPU, small_resnet on a CPU)")
    add("--resolution", type=opt.whole(8, 4096), help="pixels (default: 192 on a GPU, 32 on a CPU)")
    add("--batch", type=opt.whole(2, 65536), help="images in a batch (default: 256 on a GPU, 128 on a CPU)")
    add("--precision", choices=PRECISIONS, default="auto", help="as training.precision (default: auto)")
    add("--blurpool", choices=["on", "off"], default="on", help="default: on")
    switches = opt.list_of(opt.one_of("on", "off"))
    add("--compile", type=switches, help="both sides (default: on on a GPU, off on a CPU)")
    add("--steps", type=opt.whole(4, 10**6), default=100, help="of an epoch, which is a round (default: 100)")
    add("--rounds", type=opt.whole(LEAST_ROUNDS, 500), default=9, help="of each side (default: 9)")
    add("--json", type=Path, metavar="FILE", help="write the records there, and a table beside it as .md")
    options = parser.parse_args(argv)
    opt.check_files(None, options.json)
    options.device = opt.device_named(options.device)
    arch, resolution, batch = _USUAL[options.device]
    options.arch = options.arch or arch
    options.resolution = options.resolution or resolution
    options.batch = options.batch or batch
    options.compile = options.compile or ["on" if options.device == "cuda" else "off"]
    return options
