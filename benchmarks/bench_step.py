"""`python -m benchmarks step`: images per second of one training step on data that lie on the device already.

Ours (engine.train.step.Step) against the steps of ffcv-imagenet, torchvision's reference scripts and timm, in turns,
each in a process of its own; on a GPU timed by its events. All sides begin with the same weights and see the same
images, and the loss of the first step says whether they compute the same: exit code 1 where it differs on the same
network. What a technique costs in a step is another stage's: `python -m benchmarks techniques`.
"""

import argparse
import importlib.util
import itertools
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from benchmarks import options as opt
from benchmarks.method import LEAST_ROUNDS, cpu_ms_per_image, failed, paired, warm_up
from benchmarks.recording import context, save
from benchmarks.steps import OURS, PEERS, PRECISIONS, STEPS, Start, StepTask, check_peers
from benchmarks.steps.answers import STEP_ANSWERS
from benchmarks.table import Record, table
from benchmarks.worker import ContenderError, Round, Worker
from engine.errors import UserError
from engine.report.machine import machine

# What the same arithmetic may differ by on the same weights and images: rounding in the precision, by other kernels.
_TOLERANCE = {"fp32": 1e-3, "bf16": 3e-2, "fp16": 3e-2, "auto": 3e-2}

_MOST_STEPS = 10**6

# By device: network, sizes, batch.
_USUAL: dict[str, tuple[str, list[int], int]] = {
    "cuda": ("resnet50", [128, 160, 192, 224], 256),
    "cpu": ("resnet18", [32, 64], 32),
}


class _Side:
    """A side's process, and what it said when it began with a case."""

    def __init__(self, name: str, task: StepTask) -> None:
        self.name, self.losses, self.compile_seconds = name, [0.0], 0.0
        self.worker = Worker(name, STEPS[name], task, answers=STEP_ANSWERS)

    def start(self, resolution: int, batch: int) -> None:
        """Begin with the common weights."""
        started: Start = self.worker.ask("start", resolution, batch)
        self.losses, self.compile_seconds = started.losses, started.compile_seconds

    def round(self, number: int, batches: int) -> Round:
        """Time that many steps."""
        return self.worker.round(number, batches)

    def rest(self) -> None:
        """Leave the device's memory to the others."""
        self.worker.ask("rest")


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and write the records as asked for."""
    options = _parse(argv)
    shared = context()
    records: list[Record] = []
    for blurpool, compiled in itertools.product(options.blurpool, options.compile):
        task = _task(options, blurpool, compiled)
        peers = _peers(options, task)
        with ExitStack() as opened:
            sides = {name: _Side(name, task) for name in (OURS, *peers)}
            for side in sides.values():
                opened.enter_context(side.worker)
            for side in sides.values():
                # Before any of them works. One that fails says so again when it is to start.
                with suppress(ContenderError):
                    side.worker.load()
            for resolution in options.resolution:
                print(f"{task}, {resolution} px, batch {options.batch}", flush=True)
                for measured in _case(sides, resolution, task.blurpool, options):
                    records.append({**_facts(task, resolution, options), **measured, **shared})
                    save(options.json, records)
    print(f"\n{table(records)}")
    return 0 if all(map(passed, records)) else 1


def _case(
    sides: dict[str, _Side], resolution: int, blurpool: bool, options: argparse.Namespace
) -> list[Record]:
    """Ours against each peer at one resolution."""
    ours, *peers = sides.values()
    ours_failed = _start(ours, resolution, options)
    measured = []
    for peer in peers:
        error = ours_failed or _start(peer, resolution, options)
        found = failed(error) if error else _turns(ours, peer, options)
        who = {
            "ours": OURS,
            "peer": peer.name,
            "same_network": not blurpool or STEPS[peer.name].blurs_as_ours,
        }
        measured.append({**who, **found})
    return measured


def _start(side: _Side, resolution: int, options: argparse.Namespace) -> str:
    """Let it begin; returns why it could not, if so."""
    try:
        side.start(resolution, options.batch)
    except ContenderError as error:
        print(f"failed: {error}", flush=True)
        return str(error)
    return ""


def _turns(ours: _Side, peer: _Side, options: argparse.Namespace) -> Record:
    """Both sides' rounds, ours before the peer's each time."""
    print(f"  {ours.name} against {peer.name}:", end="", flush=True)
    taken: tuple[list[Round], list[Round]] = ([], [])
    try:
        steps = [warm_up(side, options.seconds, _MOST_STEPS) for side in (ours, peer)]
        for number in range(options.rounds):
            for side, count, rounds in zip((ours, peer), steps, taken, strict=True):
                rounds.append(side.round(number, count))
            print(f" {taken[0][-1].rate / taken[1][-1].rate:.2f}", end="", flush=True)
        settings = [side.worker.settings() for side in (ours, peer)]
        peer.rest()
    except ContenderError as error:
        print(f" failed: {error}", flush=True)
        return failed(str(error))
    print(flush=True)
    ours_rounds, peer_rounds = taken
    differences = [round(abs(a - b), 6) for a, b in zip(ours.losses, peer.losses, strict=True)]
    return {
        **paired([each.rate for each in ours_rounds], [each.rate for each in peer_rounds]),
        "ours_cpu_ms_per_image": cpu_ms_per_image(ours_rounds),
        "peer_cpu_ms_per_image": cpu_ms_per_image(peer_rounds),
        "other_cores": round(max(each.other_cores for each in ours_rounds + peer_rounds), 3),
        "losses": [round(loss, 6) for loss in ours.losses],
        "loss_differences": differences,
        "compile_seconds": round(ours.compile_seconds, 1),
        "ours_settings": settings[0],
        "peer_settings": settings[1],
    }


def passed(record: Record) -> bool:
    """Not failed, and the same loss where it is the same network."""
    if record.get("error"):
        return False
    difference = record["loss_differences"][0]
    return not record["same_network"] or difference <= _TOLERANCE[record["precision"]]


def _facts(task: StepTask, resolution: int, options: argparse.Namespace) -> Record:
    """A record's keys in the format that ENGINEERING.md fixes, as far as they are known beforehand, and more."""
    return {
        "stage": "step",
        "resolution": resolution,
        "scale": [1.0, 1.0],
        "cores": task.cores,
        "cache": "resident",
        "metric": "images_per_second",
        "data": f"noise and random labels of {options.batch} images, four batches in turn, on the device",
        "form": f"{task.arch}, on the {'GPU' if task.device == 'cuda' else 'CPU'} already",
        "device": task.device,
        "batch": options.batch,
        "arch": task.arch,
        "precision": task.precision,
        "blurpool": task.blurpool,
        "compile": task.compile,
    }


def _task(options: argparse.Namespace, blurpool: str, compiled: str) -> StepTask:
    return StepTask(
        arch=options.arch,
        blurpool=blurpool == "on",
        precision=options.precision,
        compile=compiled == "on",
        device=options.device,
        cores=machine()["cores"],
    )


def _peers(options: argparse.Namespace, task: StepTask) -> list[str]:
    """Those that can be compared with, and a line for each that can't."""
    chosen = []
    for name in options.against or PEERS:
        reason = _why_not(name, task)
        if reason:
            print(f"left out: {name}: {reason}", flush=True)
        else:
            chosen.append(name)
    if not chosen:
        raise UserError("--against: none of them can be compared with here")
    return chosen


def _why_not(name: str, task: StepTask) -> str:
    """Why this peer has nothing to compare with; empty where it has."""
    if task.blurpool and not STEPS[name].blurs:
        return "it has no BlurPool"
    if name != "timm":
        return ""
    if importlib.util.find_spec("timm") is None:
        return "timm is not installed: pip install timm"
    from engine.models.build import MODELS

    return f"it has no {task.arch}" if task.arch in MODELS.names() else ""


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser(prog="python -m benchmarks step", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    peers = "; ".join(f"{name}: {STEPS[name].what}" for name in PEERS)
    add("--against", type=opt.list_of(str), action="extend", help=f"{peers} (default: all)")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: a GPU where there is one")
    add("--arch", help="network, as model.arch (default: resnet50 on a GPU, resnet18 on a CPU)")
    add(
        "--resolution",
        type=opt.list_of(opt.whole(8, 4096)),
        help="pixels (default: 128,160,192,224 on a GPU, 32,64 on a CPU)",
    )
    add("--batch", type=opt.whole(1, 65536), help="images in a batch (default: 256 on a GPU, 32 on a CPU)")
    add("--precision", choices=PRECISIONS, default="auto", help="default: what each side usually takes")
    switches = opt.list_of(opt.one_of("on", "off"))
    add("--blurpool", type=switches, default=["on", "off"], help="default: on,off")
    add("--compile", type=switches, help="of ours (default: on on a GPU, off on a CPU)")
    add("--seconds", type=opt.seconds, default=1.0, help="length of a round, about (default: 1)")
    add(
        "--rounds", type=opt.whole(LEAST_ROUNDS, 1000), default=LEAST_ROUNDS, help="of each side (default: 5)"
    )
    add("--json", type=Path, metavar="FILE", help="write the records there, and a table beside it as .md")
    options = parser.parse_args(argv)
    options.against = check_peers(options.against or [])
    opt.check_files(None, options.json)
    if not 0 < options.seconds <= 3600:
        raise UserError(f"--seconds {options.seconds:g}: above 0, at most 3600")
    _take_usual(options)
    return options


def _take_usual(options: argparse.Namespace) -> None:
    """Fill in what depends on the device. Raises UserError for a GPU that is not there."""
    options.device = opt.device_named(options.device)
    arch, resolutions, batch = _USUAL[options.device]
    options.arch = options.arch or arch
    options.resolution = options.resolution or resolutions
    options.batch = options.batch or batch
    options.compile = options.compile or ["on" if options.device == "cuda" else "off"]
