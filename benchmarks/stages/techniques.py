"""`python -m benchmarks techniques`: the time that each technique adds to a training step.

A whole step, augmentation included, on made-up images that lie ready; with the technique and without it, in turns, on
the GPU if there is one, else on the CPU. What each technique is, and who proposed it, is in docs/techniques.md; those
that take no time in a step (schedules, resolutions, validation) are only there.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import arguments as opt
from benchmarks.harness.method import paired
from benchmarks.harness.run_records import RunRecords
from benchmarks.records.layouts import Record
from engine.runs.machine import machine

PLAIN: dict[str, Any] = {"training.label_smoothing": 0}
"""What a plain step has beside the defaults: SGD on cross-entropy, channels_last."""

WEIGHTS = "FILE"
"""Stands for a file of weights, which the benchmark makes."""

_POLICY = "augmentation.policy"

TECHNIQUES: dict[str, dict[str, Any]] = {
    "FixRes: head fine-tune": {"model.train_only": "head"},
    "Nesterov": {"training.nesterov": True},
    "sgdw": {"training.optimizer": "sgdw"},
    "adamw": {"training.optimizer": "adamw"},
    "lamb": {"training.optimizer": "lamb"},
    "clipping": {"training.clip_norm": 1.0},
    "SAM": {"training.sam_rho": 0.05},
    "EMA": {"training.ema_half_life": 100},
    "accumulation": {"training.device_batch_size": 8},
    "skipping bad steps": {"training.nonfinite": "skip"},
    "label smoothing": {"training.label_smoothing": 0.1},
    "BCE": {"loss.name": "bce"},
    "distillation": {"loss.teacher": WEIGHTS, "loss.teacher_arch": "resnet50"},
    "auto-augment": {_POLICY: "auto-augment"},
    "rand-augment": {_POLICY: "rand-augment"},
    "rand-augment, timm's form": {
        _POLICY: "rand-augment",
        "augmentation.rand_augment_form": "timm",
        "augmentation.rand_augment_magnitude": 7,
        "augmentation.rand_augment_std": 0.5,
    },
    "trivial-augment": {_POLICY: "trivial-augment"},
    "colour jitter": {
        "augmentation.brightness": 0.4,
        "augmentation.contrast": 0.4,
        "augmentation.saturation": 0.4,
        "augmentation.hue": 0.1,
    },
    "erasing": {"augmentation.erasing_probability": 0.25},
    "erasing with noise": {
        "augmentation.erasing_probability": 0.25,
        "augmentation.erasing_fill": "noise",
    },
    "ColOut": {"augmentation.colout_rows": 0.15, "augmentation.colout_columns": 0.15},
    "MixUp": {"augmentation.mixup_alpha": 0.2},
    "CutMix": {"augmentation.cutmix_alpha": 1.0},
    "MixUp or CutMix": {"augmentation.mixup_alpha": 0.2, "augmentation.cutmix_alpha": 1.0},
    "BlurPool": {"training.use_blurpool": True},
    "stochastic depth": {"model.stochastic_depth": 0.1},
    "channels_last": {"training.channels_last": True},
    "bf16": {"training.precision": "bf16"},
    "compile": {"training.compile": "on"},
    "combo kernels": {"training.combo_kernels": True, "training.compile": "on"},
    "CUDA graphs": {"training.cuda_graphs": True, "training.compile": "off"},
}
"""Name, as in docs/techniques.md -> the options that turn it on."""

WITHOUT: dict[str, dict[str, Any]] = {
    "channels_last": {"training.channels_last": False},
    "bf16": {"training.precision": "fp32"},
    "combo kernels": {"training.compile": "on"},
    "CUDA graphs": {"training.compile": "off"},
}
"""The other side of a technique that a plain step already has."""

NEEDS_GPU = {"combo kernels", "CUDA graphs"}
"""Left out on a CPU."""


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    from benchmarks.sides.steps.local_step import set_up_device

    device, records = set_up_device(), RunRecords(options.json)
    precision = options.precision or ("bf16" if device.type == "cuda" else "fp32")
    plain = {**PLAIN, "training.precision": precision}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "weights.pt")
        for name in options.only or TECHNIQUES:
            if name in NEEDS_GPU and device.type != "cuda":
                print(f"{name}: needs a GPU")
                continue
            print(f"{name}:", end="", flush=True)
            measured = _measure(name, plain, weights, options)
            records.add(_facts(name, precision, options, device.type), measured)
    return records.end()


def _measure(name: str, plain: Mapping[str, Any], weights: Path, options: argparse.Namespace) -> Record:
    import torch

    from benchmarks.harness.turns import Work, take_turns
    from benchmarks.sides.steps.local_step import (
        CLASSES,
        TrainingStep,
        ranks_here,
        set_up_device,
        step_config,
    )
    from engine.models.build import build_model

    asked = TECHNIQUES[name]
    if WEIGHTS in asked.values() and not weights.exists():
        model = build_model(asked["loss.teacher_arch"], CLASSES, use_blurpool=False)
        torch.save(model.state_dict(), weights)
    device = set_up_device()
    sides = []
    for wanted in (asked, WITHOUT.get(name, {})):
        named = {key: weights if value == WEIGHTS else value for key, value in wanted.items()}
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


def _facts(name: str, precision: str, options: argparse.Namespace, device: str) -> Record:
    """The part of a record that is known before the measurement."""
    asked = TECHNIQUES[name]
    return {
        "stage": "techniques",
        "ours": name,
        "peer": "without",
        "resolution": options.resolution,
        "scale": [1.0, 1.0],
        "cores": machine()["cores"],
        "cache": "warm",
        "metric": "seconds_per_step",
        "options": dict(asked),
        "without": dict(WITHOUT.get(name, {})),
        "arch": options.arch,
        "precision": str(asked.get("training.precision", precision)),
        "data": "random numbers",
        "form": f"{options.arch}, {', '.join(f'{key}={value}' for key, value in PLAIN.items())} where nothing is said",
        "device": device,
        "batch": options.batch,
        "turns": "in turns, in one process",
    }


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("techniques", __doc__)
    add = parser.add_argument
    add("--only", action="append", choices=list(TECHNIQUES), help="measure only this one (may be repeated)")
    add("--arch", default="resnet50", help="network (default: resnet50)")
    parser.add_json()
    add("--resolution", type=opt.whole(16, 4096), default=64, help="pixels (default: 64)")
    add("--precision", choices=("fp32", "bf16"), help="of the plain step (default: bf16 on a GPU, else fp32)")
    parser.add_batch(16, least=8)
    parser.add_rounds()
    parser.add_seconds(0.5)
    options = parser.parse_args(argv)
    opt.check_files(None, options.json)
    return options
