"""`python -m benchmarks augment`: augmentations of a batch that lies on the device, ours against other libraries'.

Ours decide for each image and work on the batch in groups (engine/train/augment/). torchvision's v2 transforms decide
once for each call, so for the same they are called image by image; kornia's likewise where its policy is one for the
batch. What a peer costs with one decision for the whole batch is a row of its own. From the batch to what a step
takes, normalisation included; in turns, by the clock on a CPU and by its events on a GPU. A peer that is not installed
is left out, and a line says so.
"""

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks import options as opt
from benchmarks.augment_peers import USES, Use, is_there
from benchmarks.images import synthetic_photo
from benchmarks.method import LEAST_ROUNDS, paired
from benchmarks.recording import context, save
from benchmarks.step_here import CLASSES, set_up_device, step_config
from benchmarks.table import Record, table
from benchmarks.turns import Work, take_turns
from engine.data.loader import MEAN, STD, Batch
from engine.report.machine import machine
from engine.train.augment.chain import Augment

# What is measured: the options of ours, of which the peers' are set up to be the same.
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
    """Measure, print the table, and write the records as asked for."""
    options = _parse(argv)
    device = set_up_device()
    peers = [peer for peer in options.against if _is_there(peer)]
    shared = context()
    records: list[Record] = []
    for resolution, name, peer in itertools.product(options.resolution, options.only, peers):
        given = _given(options.batch, resolution, device)
        for use in USES[peer](name, CLASSES):
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
            facts = _facts(name, peer, use, resolution, options, device)
            records.append({**facts, **paired(*rates), **shared})
            save(options.json, records)
    if not records:
        return 0
    print(f"\n{table(records)}")
    return 0


def _is_there(peer: str) -> bool:
    if is_there(peer):
        return True
    print(f"{peer} is left out: it is not installed here (the project does not need it)", flush=True)
    return False


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
        # Ours may change the batch; a loader would have filled it anew.
        images.copy_(given.normalised)

    return Work(call=lambda: augment(batch, next(epochs)), ready=refill)


def _their_work(peer: str, use: Use, given: _Given) -> Work:
    images = given.levels if peer == "torchvision" else given.shares
    return Work(call=lambda: use.run(images, given.labels))


def _facts(
    name: str, peer: str, use: Use, resolution: int, options: argparse.Namespace, device: torch.device
) -> Record:
    """A record's keys in the format that ENGINEERING.md fixes, as far as they are known beforehand."""
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
    parser = opt.Parser(prog="python -m benchmarks augment", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    names, rounds = opt.list_of(opt.one_of(*RECIPES)), opt.whole(LEAST_ROUNDS, 1000)
    add(
        "--against",
        type=opt.list_of(opt.one_of(*USES)),
        default=list(USES),
        help=f"of: {', '.join(USES)} (both)",
    )
    add("--only", type=names, default=list(RECIPES), help=f"of: {', '.join(RECIPES)} (all)")
    add("--json", type=Path, metavar="FILE", help="write the records there, and a table beside it as .md")
    add("--resolution", type=opt.list_of(opt.whole(8, 4096)), default=[224], help="pixels (default: 224)")
    add("--batch", type=opt.whole(2, 65536), default=64, help="images in a batch (default: 64)")
    add("--rounds", type=rounds, default=LEAST_ROUNDS, help="of each side (default: 5)")
    add("--seconds", type=opt.seconds, default=0.5, help="length of a round, about (default: 0.5)")
    options = parser.parse_args(argv)
    opt.check_files(None, options.json)
    return options
