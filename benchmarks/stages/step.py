"""`python -m benchmarks step`: images per second of one training step, on images that are already on the device.

Ours (engine.train.step.step) against the steps of ffcv-imagenet, torchvision's reference scripts and timm, in turns,
each in its own process; on a GPU timed by its events. All sides begin with the same weights and get the same images,
so the loss of the first step shows whether they compute the same: exit code 1 where it differs on the same network.
`python -m benchmarks techniques` measures the cost of techniques in a step.
"""

import argparse
import itertools
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from benchmarks.harness import arguments as opt
from benchmarks.harness.method import Round, cpu_ms_per_image, failed, paired, warm_up
from benchmarks.harness.processes.worker import SideError, Worker
from benchmarks.harness.run_records import RunRecords
from benchmarks.records.layouts import Record
from benchmarks.sides import PEERS, Side, StepSide, check_name, our_side, peer_side
from benchmarks.sides.steps.step_answers import STEP_ANSWERS
from benchmarks.sides.steps.step_tasks import PRECISIONS, Start, StepTask
from engine.errors import UserError
from engine.runs.machine import machine

# Differences that rounding may make on the same weights and images, by precision.
_TOLERANCE = {"fp32": 1e-3, "bf16": 3e-2, "fp16": 3e-2, "auto": 3e-2}

_MOST_STEPS = 10**6
_OURS = "ours"

# By device: network, sizes, batch.
_USUAL: dict[str, tuple[str, list[int], int]] = {
    "cuda": ("resnet50", [128, 160, 192, 224], 256),
    "cpu": ("resnet18", [32, 64], 32),
}


class _Running:
    """A side in its process, and its answer to the last start."""

    def __init__(self, name: str, side: StepSide, task: StepTask) -> None:
        self.name, self.blurs_as_ours = name, side.blurs_as_ours
        self.losses, self.compile_seconds = [0.0], 0.0
        self.worker = Worker(name, side, task, answers=STEP_ANSWERS)

    def start(self, resolution: int, batch: int) -> None:
        """Begin with the common weights."""
        started: Start = self.worker.ask("start", resolution, batch)
        self.losses, self.compile_seconds = started.losses, started.compile_seconds

    def round(self, number: int, batches: int) -> Round:
        """Time that many steps."""
        return self.worker.round(number, batches)

    def rest(self) -> None:
        """Release the device's memory for the other sides."""
        self.worker.ask("rest")


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    records = RunRecords(options.json)
    for blurpool, compiled in itertools.product(options.blurpool, options.compile):
        task = _task(options, blurpool, compiled)
        chosen = {_OURS: _step_side(our_side("step", _OURS)), **_peers(options, task)}
        with ExitStack() as opened:
            sides = {name: _Running(name, side, task) for name, side in chosen.items()}
            for side in sides.values():
                opened.enter_context(side.worker)
            for side in sides.values():
                # All imports before any work. A side that fails here fails again at its start.
                with suppress(SideError):
                    side.worker.load()
            for resolution in options.resolution:
                print(f"{task}, {resolution} px, batch {options.batch}", flush=True)
                for measured in _case(sides, resolution, task.blurpool, options):
                    records.add(_facts(task, resolution, options), measured)
    return records.end(passed)


def _case(
    sides: dict[str, _Running], resolution: int, blurpool: bool, options: argparse.Namespace
) -> list[Record]:
    """Ours against each peer at one resolution."""
    ours, *peers = sides.values()
    ours_failed = _start(ours, resolution, options)
    measured = []
    for peer in peers:
        error = ours_failed or _start(peer, resolution, options)
        found = failed(error) if error else _turns(ours, peer, options)
        who = {
            "ours": _OURS,
            "peer": peer.name,
            "same_network": not blurpool or peer.blurs_as_ours,
        }
        measured.append({**who, **found})
    return measured


def _start(side: _Running, resolution: int, options: argparse.Namespace) -> str:
    """Start a side; returns the reason where that fails."""
    try:
        side.start(resolution, options.batch)
    except SideError as error:
        print(f"failed: {error}", flush=True)
        return str(error)
    return ""


def _turns(ours: _Running, peer: _Running, options: argparse.Namespace) -> Record:
    """The rounds of both sides, ours first each time."""
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
    except SideError as error:
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
    """Whether it was measured, with the same loss on the same network."""
    if record.get("error"):
        return False
    difference = record["loss_differences"][0]
    return not record["same_network"] or difference <= _TOLERANCE[record["precision"]]


def _facts(task: StepTask, resolution: int, options: argparse.Namespace) -> Record:
    """The part of a record that is known before the measurement."""
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


def _peers(options: argparse.Namespace, task: StepTask) -> dict[str, StepSide]:
    """The peers that can be compared with; prints a line for each other one."""
    chosen = {}
    for name in options.against or PEERS["step"]:
        side = _step_side(peer_side("step", name))
        reason = _why_not(side, task)
        if reason:
            print(f"left out: {name}: {reason}", flush=True)
        else:
            chosen[name] = side
    if not chosen:
        raise UserError("--against: none of them can be compared with here")
    return chosen


def _step_side(side: Side) -> StepSide:
    assert isinstance(side, StepSide)
    return side


def _why_not(side: StepSide, task: StepTask) -> str:
    """Why it can't be compared with; empty where it can."""
    if task.blurpool and not side.blurs:
        return "it has no BlurPool"
    if reason := side.why_not():
        return reason
    from engine.models.build import MODELS

    return f"it has no {task.arch}" if not side.our_networks and task.arch in MODELS.names() else ""


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("step", __doc__)
    add = parser.add_argument
    words = "; ".join(f"{name}: {side.what}" for name, side in PEERS["step"].items())
    add("--against", type=opt.list_of(str), action="extend", help=f"{words} (default: all)")
    parser.add_device()
    add("--arch", help="network, as model.arch (default: resnet50 on a GPU, resnet18 on a CPU)")
    add(
        "--resolution",
        type=opt.list_of(opt.whole(8, 4096)),
        help="pixels (default: 128,160,192,224 on a GPU, 32,64 on a CPU)",
    )
    add("--batch", type=opt.whole(1, 65536), help="images in a batch (default: 256 on a GPU, 32 on a CPU)")
    add("--precision", choices=PRECISIONS, default="auto", help="default: each side's own")
    switches = opt.list_of(opt.one_of("on", "off"))
    add("--blurpool", type=switches, default=["on", "off"], help="default: on,off")
    add("--compile", type=switches, help="of ours (default: on on a GPU, off on a CPU)")
    parser.add_seconds(1.0)
    parser.add_rounds()
    parser.add_json()
    options = parser.parse_args(argv)
    options.against = list(dict.fromkeys(options.against or ()))
    for name in options.against:
        check_name("peer", name, PEERS["step"])
    opt.check_files(None, options.json)
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
