"""`python -m benchmarks blurpool`: what BlurPool costs, and what fusing the blur with the stride saves.

Each part is forward and backward, in turns, on the GPU where there is one and else on the CPU. `layers`: a block of
ResNet-50 at a time, its blurred shortcut convolution, fused against unfused. `network`: whole training steps of
resnet50, fused against unfused. `filter`: the blur as a depthwise convolution against other forms of it, eager and
compiled. `composed`: blur and 3x3 convolution against both as one 5x5 convolution. `maxpool`: ResNet's max-pool as
it is, against one with a blur.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import options as opt
from benchmarks.blur_forms import FORMS, MAX_POOLS, Blur, Composed, Fused, Unfused, unfuse
from benchmarks.method import LEAST_ROUNDS, paired
from benchmarks.recording import context, save
from benchmarks.step_here import TrainingStep, ranks_here, set_up_device, step_config
from benchmarks.table import Record, table
from benchmarks.turns import Work, take_turns
from engine.config.schema import TrainConfig
from engine.models.blurpool import BlurConv2d
from engine.report.machine import machine

# Where ResNet-50 has a stride after its stem: (side as a share of the image's, channels of the block's input, of its
# 3x3 convolution, of its output).
_BLOCKS = ((4, 256, 128, 512), (8, 512, 256, 1024), (16, 1024, 512, 2048))
_THREE: dict[str, Any] = {"kernel_size": 3, "stride": 2, "padding": 1}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


_Sides = tuple[Callable[[], object], Callable[[], object]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison: names of both sides, what it is about, and how to make the two."""

    ours: str
    peer: str
    what: str
    resolution: int
    precision: str
    compiled: bool = False
    make: Callable[[], _Sides]


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and write the records as asked for."""
    options = _parse(argv)
    device = set_up_device()
    shared = context()
    records: list[Record] = []
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
            records.append({**_facts(case, options, device), **paired(ours, peer), **shared})
            save(options.json, records)
    print(f"\n{table(records)}")
    return 0


@dataclass(frozen=True, kw_only=True)
class _Input:
    """What a layer is given."""

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
    """The stem's, which the engine leaves as it is."""
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
    """A record's keys in the format that ENGINEERING.md fixes, as far as they are known beforehand."""
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
    parser = opt.Parser(prog="python -m benchmarks blurpool", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add(
        "--part", type=opt.list_of(opt.one_of(*_PARTS)), default=list(_PARTS), help=f"of: {', '.join(_PARTS)}"
    )
    add("--arch", default="resnet50", help="part network: which (default: resnet50)")
    add("--json", type=Path, metavar="FILE", help="write the records there, and a table beside it as .md")
    add("--resolution", type=opt.list_of(opt.whole(16, 4096)), default=[64, 128], help="pixels (64,128)")
    add("--precision", type=opt.list_of(opt.one_of(*_DTYPES)), default=["fp32"], help="of: fp32, bf16 (fp32)")
    add("--compiled", type=opt.list_of(_yes_or_no), default=[False], help="torch.compile, of: no, yes (no)")
    add("--batch", type=opt.whole(1, 65536), default=16, help="images in a batch (default: 16)")
    add(
        "--rounds", type=opt.whole(LEAST_ROUNDS, 1000), default=LEAST_ROUNDS, help="of each side (default: 5)"
    )
    add("--seconds", type=opt.seconds, default=0.5, help="length of a round, about (default: 0.5)")
    options = parser.parse_args(argv)
    opt.check_files(None, options.json)
    return options


def _yes_or_no(text: str) -> bool:
    return opt.one_of("yes", "no")(text) == "yes"


_yes_or_no.__name__ = "choice of yes, no"
