"""`python -m benchmarks overhead`: the time that the training loop adds to its steps.

An epoch of engine.train.trainer.Trainer as in a run (order, learning rate, loss checks, averaged weights, progress bar,
log and report) on batches that lie on the device, against as many bare steps (forward, loss, backward, update) on the
same network and batches, in one process. A round is one such epoch; five bare steps precede each five of the loop, so
that a drift of the machine's speed affects both alike. Each epoch ends with a log line and a report, so short epochs
make the loop look slow.

Exit code 1: the whole interval of the overhead lies above 2%. One that spans 2% is "undecided", and no failure.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import arguments as opt
from benchmarks.harness.method import failed, paired
from benchmarks.harness.processes.worker import SideError, Worker
from benchmarks.harness.run_records import RunRecords, made
from benchmarks.records.layouts import Record
from benchmarks.records.overhead_limit import sentence, verdict
from benchmarks.sides import our_side
from benchmarks.sides.steps.step_answers import LOOP_ANSWERS
from benchmarks.sides.steps.step_tasks import PRECISIONS, LoopRound, LoopTask, StepTask
from engine.runs.machine import machine

# By device: network, size, batch. On a CPU a step takes 50 to 100 ms.
_USUAL = {"cuda": ("resnet50", 192, 256), "cpu": ("small_resnet", 32, 128)}


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    records = RunRecords(options.json)
    for compiled in options.compile:
        with tempfile.TemporaryDirectory() as folder:
            task = _task(options, compiled, Path(folder))
            measured = _measure(task, options.rounds)
        records.add(_facts(task), measured)
    code = records.end(passed)
    for record in filter(made, records.records):
        print(record["verdict"])
    return code


def _measure(task: LoopTask, rounds: int) -> Record:
    size = f"{task.resolution} px, batch {task.batch}, {task.steps} steps a round"
    print(f"{task.step}, {size}:", end="", flush=True)
    taken: list[LoopRound] = []
    try:
        with Worker("loop", our_side("overhead", "loop"), task, answers=LOOP_ANSWERS) as worker:
            # To warm up.
            worker.ask("round")
            for _ in range(rounds):
                taken.append(worker.ask("round"))
                print(f" {taken[-1].loop / taken[-1].bare:.3f}", end="", flush=True)
            how = worker.settings()
            worker.ask("close")
    except SideError as error:
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
    """Whether it was measured, and its overhead is not above the limit beyond the noise."""
    return not record.get("error") and verdict(record["ratio"]) != "over"


def _facts(task: LoopTask) -> Record:
    """The part of a record that is known before the measurement."""
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
    parser = opt.Parser("overhead", __doc__)
    add = parser.add_argument
    parser.add_device()
    add("--arch", help="network, as model.arch (default: resnet50 on a GPU, small_resnet on a CPU)")
    add("--resolution", type=opt.whole(8, 4096), help="pixels (default: 192 on a GPU, 32 on a CPU)")
    add("--batch", type=opt.whole(2, 65536), help="images in a batch (default: 256 on a GPU, 128 on a CPU)")
    add("--precision", choices=PRECISIONS, default="auto", help="as training.precision (default: auto)")
    add("--blurpool", choices=["on", "off"], default="on", help="default: on")
    switches = opt.list_of(opt.one_of("on", "off"))
    add("--compile", type=switches, help="both sides (default: on on a GPU, off on a CPU)")
    add("--steps", type=opt.whole(4, 10**6), default=100, help="of an epoch, which is a round (default: 100)")
    parser.add_rounds(default=9, most=500)
    parser.add_json()
    options = parser.parse_args(argv)
    opt.check_files(None, options.json)
    options.device = opt.device_named(options.device)
    arch, resolution, batch = _USUAL[options.device]
    options.arch = options.arch or arch
    options.resolution = options.resolution or resolution
    options.batch = options.batch or batch
    options.compile = options.compile or ["on" if options.device == "cuda" else "off"]
    return options
