"""`python -m benchmarks augment`: augment a batch on the device, ours against other libraries.

Ours decide for each image and work on the batch in groups (engine/train/augment/). torchvision's v2 transforms decide
once for each call, so they are called image by image; kornia's too where it has one decision for the batch. A peer's
one call for the whole batch is another row. Timed from the batch to a step's input, normalisation included; in turns,
by the clock on a CPU and by events on a GPU. A peer that is not installed is left out, and a line says so.
"""

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.harness import arguments as opt
from benchmarks.harness.images.prepared import synthetic_photo
from benchmarks.harness.method import paired
from benchmarks.harness.run_records import RunRecords
from benchmarks.harness.turns import Work, take_turns
from benchmarks.records.layouts import Record
from benchmarks.sides import PEERS, check_name, peer_side
from benchmarks.sides.augmenters import Use
from benchmarks.sides.steps.local_step import CLASSES, set_up_device, step_config
from engine.data.loading.loader import MEAN, STD, Batch
from engine.runs.machine import machine
from engine.train.augment.chain import Augment

# The measured augmentations: options of ours; the peers are set up alike.
RECIPES: dict[str, dict[str, Any]] = {
    "auto-augment": {"policy": "auto-augment"},
    "rand-augment": {"policy": "rand-augment"},
    "trivial-augment": {"policy": "trivial-augment"},
    "colour-jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "erasing-noise": {"erasing_probability": 0.5, "erasing_fill": "noise"},
    "erasing-mean": {"erasing_probability": 0.5, "erasing_fill": "mean"},
    "mixup": {"mixup_alpha": 0.2},
    "cutmix": {"cutmix_alpha": 1.0},
}
_PHOTOS = 16


@dataclass(frozen=True, kw_only=True)
class _Given:
    """The same images as each side takes them, and their labels."""

    normalised: torch.Tensor
    """float32 (n, 3, side, side), channels_last: as our loader gives them."""
    levels: torch.Tensor
    """uint8, 0..255."""
    shares: torch.Tensor
    """float32, 0..1."""
    labels: torch.Tensor


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    device = set_up_device()
    peers = [peer for peer in options.against if _can_run(peer)]
    records = RunRecords(options.json)
    for resolution, name, peer in itertools.product(options.resolution, options.only, peers):
        given = _given(options.batch, resolution, device)
        for use in peer_side("augment", peer).load()(name, CLASSES):
            print(f"{name}, {resolution} px, {peer}, {use.how}:", end="", flush=True)
            ours, theirs = take_turns(
                [_our_work(name, given, device), _their_work(peer, use, given)],
                device,
                rounds=options.rounds,
                seconds=options.seconds,
                tell=lambda word: print(f" {word}", end="", flush=True),
            )
            print(" ms", flush=True)
            rates = ([options.batch / seconds for seconds in side] for side in (ours, theirs))
            records.add(_facts(name, peer, use, resolution, options, device), paired(*rates))
    return records.end()


def _can_run(peer: str) -> bool:
    reason = peer_side("augment", peer).why_not()
    if reason:
        print(f"left out: {peer}: {reason}", flush=True)
    return not reason


def _given(batch: int, side: int, device: torch.device) -> _Given:
    photos = [cv2.resize(synthetic_photo(seed), (side, side)) for seed in range(min(batch, _PHOTOS))]
    pixels = np.stack([photos[index % len(photos)] for index in range(batch)])
    levels = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD))
    normalised = ((levels - mean) / std).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % CLASSES
    return _Given(normalised=normalised, levels=levels, shares=levels / 255, labels=labels)


def _our_work(name: str, given: _Given, device: torch.device) -> Work:
    options = {f"augmentation.{key}": value for key, value in RECIPES[name].items()}
    augment = Augment(step_config("resnet50", len(given.labels), options), CLASSES, torch.float32)
    images = given.normalised.clone()
    batch = Batch(images, given.labels, np.arange(len(given.labels)))
    epochs = itertools.count()

    def refill() -> None:
        # Ours may change the batch in place; a loader fills it each time.
        images.copy_(given.normalised)

    return Work(call=lambda: augment(batch, next(epochs)), ready=refill)


def _their_work(peer: str, use: Use, given: _Given) -> Work:
    images = given.levels if peer == "torchvision" else given.shares
    return Work(call=lambda: use.run(images, given.labels))


def _facts(
    name: str, peer: str, use: Use, resolution: int, options: argparse.Namespace, device: torch.device
) -> Record:
    """The part of a record that is known before the measurement."""
    return {
        "stage": "augment",
        "ours": "batched",
        "peer": peer,
        "resolution": resolution,
        "scale": [1.0, 1.0],
        "cores": machine()["cores"],
        "cache": "warm",
        "metric": "images_per_second",
        "what": name,
        "how": use.how,
        "data": "synthetic photo-like images, no real ones",
        "form": "normalised float32 on the device",
        "device": device.type,
        "batch": options.batch,
        "turns": "in turns, in one process",
    }


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("augment", __doc__)
    add = parser.add_argument
    names = opt.list_of(opt.one_of(*RECIPES))
    peers = list(PEERS["augment"])
    add("--against", type=opt.list_of(str), default=peers, help=f"choices: {', '.join(peers)} (default: all)")
    add("--only", type=names, default=list(RECIPES), help=f"choices: {', '.join(RECIPES)} (default: all)")
    parser.add_json()
    parser.add_resolutions([224])
    parser.add_batch(64, least=2)
    parser.add_rounds()
    parser.add_seconds(0.5)
    options = parser.parse_args(argv)
    for peer in options.against:
        check_name("peer", peer, peers)
    opt.check_files(None, options.json)
    return options
