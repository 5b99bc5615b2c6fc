"""`python -m benchmarks export`: the speed of exported networks: ONNX Runtime in int8 and fp32, and PyTorch eager.

In turns, in one process, on the CPU with all its cores. Networks have random weights, and inputs are random numbers:
speeds do not depend on them. What int8 costs in accuracy does; `python -m engine export` measures it on real images.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness import arguments as opt
from benchmarks.harness.method import paired
from benchmarks.harness.run_records import RunRecords
from benchmarks.harness.turns import Work, take_turns
from benchmarks.records.layouts import Record
from engine.export.kinds.onnx_file import OnnxFile
from engine.export.proof import reference
from engine.export.target import Settings
from engine.models.build import build_model
from engine.predict.trained import Trained
from engine.runs.machine import machine
from engine.runs.model_card import CARD_SCHEMA, ModelCard, Preprocessing

_CLASSES, _CALIBRATION = 1000, 16
Calls = dict[str, Callable[[], object]]


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    device, records = torch.device("cpu"), RunRecords(options.json)
    for arch in options.arch:
        with tempfile.TemporaryDirectory() as folder:
            sizes, batches = _models(arch, options, Path(folder))
            for batch, calls in batches:
                names = list(calls)
                print(
                    f"{arch}, {options.resolution} px, batch {batch}, {'/'.join(names)}:", end="", flush=True
                )
                taken = take_turns(
                    [Work(call=call) for call in calls.values()],
                    device,
                    rounds=options.rounds,
                    seconds=options.seconds,
                    tell=lambda word: print(f" {word}", end="", flush=True),
                )
                print(" ms", flush=True)
                seconds = dict(zip(names, taken, strict=True))
                for ours, peer in (
                    ("onnx-int8", "onnx-fp32"),
                    ("onnx-int8", "eager"),
                    ("onnx-fp32", "eager"),
                ):
                    facts = _facts(arch, options.resolution, batch, ours, peer, sizes)
                    records.add(facts, paired(seconds[ours], seconds[peer]))
    return records.end()


def _models(
    arch: str, options: argparse.Namespace, folder: Path
) -> tuple[dict[str, int], Iterator[tuple[int, Calls]]]:
    """The bytes of each side's file, and for each size of batch the calls that are timed."""
    trained, side = _network(arch, options.resolution), options.resolution
    plain, small = folder / "fp32", folder / "int8"
    plain.mkdir()
    small.mkdir()
    images = _numbers(_CALIBRATION, side)
    OnnxFile().write(trained, Settings(int8=True, calibration=images, beside=plain), small)
    runs = {"onnx-int8": OnnxFile().load(small), "onnx-fp32": OnnxFile().load(plain)}
    sizes = {
        name: (one / OnnxFile.file).stat().st_size for name, one in zip(runs, (small, plain), strict=True)
    }
    sizes["eager"] = sum(value.nbytes for value in trained.model.state_dict().values())

    def batches() -> Iterator[tuple[int, Calls]]:
        for batch in options.batch:
            given = _numbers(batch, side)
            tensor = torch.from_numpy(given).to(memory_format=torch.channels_last)
            calls: Calls = {name: partial(run, given) for name, run in runs.items()}
            yield batch, calls | {"eager": partial(reference, trained, tensor)}

    return sizes, batches()


def _network(arch: str, side: int) -> Trained:
    torch.manual_seed(0)
    model = build_model(arch, _CLASSES, use_blurpool=False).eval().to(memory_format=torch.channels_last)
    asked = Preprocessing(
        resolution=side, ratio=0.875, crop_law="fused", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]
    )
    card = ModelCard(
        schema=CARD_SCHEMA,
        arch=arch,
        num_classes=_CLASSES,
        use_blurpool=False,
        preprocessing=asked,
        accuracies=[],
    )
    names = [str(number) for number in range(_CLASSES)]
    return Trained(model=model, card=card, path=Path(arch), run=None, names=names, device=torch.device("cpu"))


def _numbers(count: int, side: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((count, 3, side, side), np.float32)


def _facts(arch: str, resolution: int, batch: int, ours: str, peer: str, sizes: dict[str, int]) -> Record:
    """The part of a record that is known before the measurement."""
    return {
        "stage": "export",
        "ours": ours,
        "peer": peer,
        "resolution": resolution,
        "scale": [1.0, 1.0],
        "cores": machine()["cores"],
        "cache": "warm",
        "metric": "seconds",
        "what": arch,
        "size_ratio": sizes[ours] / sizes[peer],
        "data": "random numbers and random weights",
        "form": "forward, fp32 in, logits out",
        "device": "cpu",
        "batch": batch,
        "turns": "in turns, in one process",
    }


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("export", __doc__)
    add = parser.add_argument
    add(
        "--arch",
        type=opt.list_of(str),
        default=["resnet18", "resnet50"],
        help="networks (default: resnet18,resnet50)",
    )
    add("--resolution", type=opt.whole(16, 1024), default=224, help="pixels (default: 224)")
    add(
        "--batch",
        type=opt.list_of(opt.whole(1, 1024)),
        default=[1, 8],
        help="images in a batch (default: 1,8)",
    )
    parser.add_json()
    parser.add_rounds()
    parser.add_seconds(0.5)
    options = parser.parse_args(argv)
    opt.check_files(None, options.json)
    return options
