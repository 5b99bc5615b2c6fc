"""`python -m benchmarks blurpool`: the time that BlurPool takes, and the gain of fusing the blur with the stride.

Forward and backward, in turns, on the GPU if there is one, else on the CPU. `layers`: the blurred shortcut convolution
of each of ResNet-50's blocks, fused against unfused. `network`: whole training steps of resnet50, fused against
unfused. `filter`: the blur as a depthwise convolution against other forms, eager and compiled. `composed`: blur and
3x3 convolution against both as one 5x5 convolution. `maxpool`: ResNet's max-pool against one with a blur.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.harness import arguments as opt
from benchmarks.harness.method import paired
from benchmarks.harness.run_records import RunRecords
from benchmarks.harness.turns import Work, take_turns
from benchmarks.records.layouts import Record
from benchmarks.sides.blur_forms import FORMS, MAX_POOLS, Blur, Composed, Fused, Unfused, unfuse
from benchmarks.sides.steps.local_step import TrainingStep, ranks_here, set_up_device, step_config
from engine.config.train.train_config import TrainConfig
from engine.models.blurpool import BlurConv2d
from engine.runs.machine import machine

# ResNet-50's strided blocks after the stem: (image side / block side, channels of its input, of its 3x3 convolution, of
# its output).
_BLOCKS = ((4, 256, 128, 512), (8, 512, 256, 1024), (16, 1024, 512, 2048))
_THREE: dict[str, Any] = {"kernel_size": 3, "stride": 2, "padding": 1}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


_Sides = tuple[Callable[[], object], Callable[[], object]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison: the names of both sides, what they compute, and how to make them."""

    ours: str
    peer: str
    what: str
    resolution: int
    precision: str
    compiled: bool = False
    make: Callable[[], _Sides]


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    device = set_up_device()
    records = RunRecords(options.json)
    for part in options.part:
        for case in _PARTS[part](options, device):
            mode = ", compiled" if case.compiled else ""
            print(
                f"{case.what}, {case.resolution} px, {case.precision}{mode}, {case.ours}/{case.peer}:", end=""
            )
            sides = [Work(call=call) for call in case.make()]
            ours, peer = take_turns(
                sides,
                device,
                rounds=options.rounds,
                seconds=options.seconds,
                tell=lambda word: print(f" {word}", end="", flush=True),
            )
            print(" ms", flush=True)
            records.add(_facts(case, options, device), paired(ours, peer))
    return records.end()


@dataclass(frozen=True, kw_only=True)
class _Input:
    """The input of a layer."""

    batch: int
    channels: int
    side: int
    dtype: torch.dtype
    device: torch.device

    def images(self) -> torch.Tensor:
        """Random numbers of that shape, channels_last."""
        side = max(1, self.side)
        images = torch.randn(self.batch, self.channels, side, side, device=self.device, dtype=self.dtype)
        return images.contiguous(memory_format=torch.channels_last).requires_grad_()


def _layers(options: argparse.Namespace, device: torch.device) -> Iterator[Case]:
    """The shortcut of each of ResNet-50's blocks that halve the image."""
    for resolution, precision, (share, inputs, _, outputs) in _each(options, _BLOCKS):
        given = _given(options, device, inputs, resolution // share, precision)
        yield Case(
            ours="fused",
            peer="unfused",
            what=f"shortcut {inputs} to {outputs} channels",
            resolution=resolution,
            precision=precision,
            make=partial(_two_layers, (Fused, Unfused), given, outputs, kernel_size=1, stride=2),
        )


def _composed(options: argparse.Namespace, device: torch.device) -> Iterator[Case]:
    """The 3x3 convolution of those blocks, and a depthwise one of as many channels, as MobileNets have it."""
    for resolution, precision, (share, _, middle, _) in _each(options, _BLOCKS):
        given = _given(options, device, middle, resolution // share, precision)
        for groups, name in ((1, "3x3"), (middle, "depthwise 3x3")):
            yield Case(
                ours="blur-then-3x3",
                peer="composed-5x5",
                what=f"{name}, {middle} channels",
                resolution=resolution,
                precision=precision,
                make=partial(_two_layers, (BlurConv2d, Composed), given, middle, **_THREE, groups=groups),
            )


def _two_layers(kinds: Sequence[type[BlurConv2d]], given: _Input, outputs: int, **settings: Any) -> _Sides:
    images, sides = given.images(), []
    for kind in kinds:
        layer = kind(nn.Conv2d(given.channels, outputs, bias=False, **settings))
        layer = layer.to(given.device, given.dtype).to(memory_format=torch.channels_last)
        sides.append(_there_and_back(layer, images))
    return sides[0], sides[1]


def _network(options: argparse.Namespace, device: torch.device) -> Iterator[Case]:
    for resolution, precision, compiled in _each(options, options.compiled):
        asked = {
            "training.use_blurpool": True,
            "training.precision": precision,
            "training.compile": compiled,
        }
        config = step_config(options.arch, options.batch, asked)
        yield Case(
            ours="fused",
            peer="unfused",
            what=f"{options.arch}, a step",
            resolution=resolution,
            precision=precision,
            compiled=compiled,
            make=partial(_two_steps, config, device, resolution),
        )


def _two_steps(config: TrainConfig, device: torch.device, side: int) -> _Sides:
    ranks = ranks_here(device)
    return TrainingStep(config, ranks, side=side), TrainingStep(config, ranks, side=side, surgery=unfuse)


def _filter(options: argparse.Namespace, device: torch.device) -> Iterator[Case]:
    """All six blurs of ResNet-50: of every pixel before the 3x3 convolutions, of every second for the shortcuts."""
    for resolution, precision, compiled in _each(options, options.compiled):
        given = [
            (_given(options, device, channels, resolution // share, precision), stride)
            for share, inputs, middle, _ in _BLOCKS
            for channels, stride in ((middle, 1), (inputs, 2))
        ]
        for peer in FORMS:
            if peer != "depthwise":
                yield Case(
                    ours="depthwise",
                    peer=peer,
                    what="six blurs",
                    resolution=resolution,
                    precision=precision,
                    compiled=compiled,
                    make=partial(_two_forms, peer, given, compiled),
                )


def _two_forms(peer: str, given: Sequence[tuple[_Input, int]], compiled: bool) -> _Sides:
    torch.compiler.reset()
    inputs = [(one.images(), stride) for one, stride in given]
    sides = []
    for form in (FORMS["depthwise"], FORMS[peer]):
        run = torch.compile(form, dynamic=False) if compiled else form
        parts = [_there_and_back(_at(run, stride), images) for images, stride in inputs]
        sides.append(partial(_all, parts))
    return sides[0], sides[1]


def _at(run: Blur, stride: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda images: run(images, stride)


def _all(parts: Sequence[Callable[[], object]]) -> None:
    for part in parts:
        part()


def _maxpool(options: argparse.Namespace, device: torch.device) -> Iterator[Case]:
    """The stem's max-pool, which the engine doesn't blur."""
    for resolution, precision, peer in _each(options, tuple(MAX_POOLS)[1:]):
        yield Case(
            ours="max-pool",
            peer=peer,
            what="stem's max-pool",
            resolution=resolution,
            precision=precision,
            make=partial(_two_pools, peer, _given(options, device, 64, resolution // 2, precision)),
        )


def _two_pools(peer: str, given: _Input) -> _Sides:
    images = given.images()
    return _there_and_back(MAX_POOLS["max-pool"], images), _there_and_back(MAX_POOLS[peer], images)


def _given(
    options: argparse.Namespace, device: torch.device, channels: int, side: int, precision: str
) -> _Input:
    return _Input(batch=options.batch, channels=channels, side=side, dtype=_DTYPES[precision], device=device)


_PARTS: dict[str, Callable[[argparse.Namespace, torch.device], Iterator[Case]]] = {
    "layers": _layers,
    "network": _network,
    "filter": _filter,
    "composed": _composed,
    "maxpool": _maxpool,
}


def _each(options: argparse.Namespace, more: Sequence[Any]) -> Iterator[tuple[int, str, Any]]:
    for resolution in options.resolution:
        for precision in options.precision:
            for item in more:
                yield resolution, precision, item


def _there_and_back(
    layer: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor
) -> Callable[[], object]:
    """A call that runs `layer` forward and backward."""
    weights = list(layer.parameters()) if isinstance(layer, nn.Module) else []
    with torch.no_grad():
        gradient = torch.randn_like(layer(images))
    return lambda: torch.autograd.grad(layer(images), [images, *weights], gradient)


def _facts(case: Case, options: argparse.Namespace, device: torch.device) -> Record:
    """The part of a record that is known before the measurement."""
    return {
        "stage": "blurpool",
        "ours": case.ours,
        "peer": case.peer,
        "resolution": case.resolution,
        "scale": [1.0, 1.0],
        "cores": machine()["cores"],
        "cache": "warm",
        "metric": "seconds",
        "what": case.what,
        "precision": case.precision,
        "compiled": case.compiled,
        "data": "random numbers",
        "form": "forward and backward, channels_last",
        "device": device.type,
        "batch": options.batch,
        "turns": "in turns, in one process",
    }


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("blurpool", __doc__)
    add = parser.add_argument
    add(
        "--part",
        type=opt.list_of(opt.one_of(*_PARTS)),
        default=list(_PARTS),
        help=f"choices: {', '.join(_PARTS)}",
    )
    add("--arch", default="resnet50", help="part network: which (default: resnet50)")
    parser.add_json()
    parser.add_resolutions([64, 128], least=16)
    add(
        "--precision",
        type=opt.list_of(opt.one_of(*_DTYPES)),
        default=["fp32"],
        help="choices: fp32, bf16 (default: fp32)",
    )
    add(
        "--compiled",
        type=opt.list_of(_yes_or_no),
        default=[False],
        help="torch.compile; choices: no, yes (default: no)",
    )
    parser.add_batch(16)
    parser.add_rounds()
    parser.add_seconds(0.5)
    options = parser.parse_args(argv)
    opt.check_files(None, options.json)
    return options


def _yes_or_no(text: str) -> bool:
    return opt.one_of("yes", "no")(text) == "yes"


_yes_or_no.__name__ = "choice of yes, no"
