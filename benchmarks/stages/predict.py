"""`python -m benchmarks predict`: classes of a folder's images by a network, ours against timm's inference.py.

Both sides read the same files from the page cache with the same network and weights, and write a table. In turns,
in one process that is kept to --cores; each side's time is from its first image until its table is closed.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness import arguments as opt
from benchmarks.harness.images.prepared import unpack
from benchmarks.harness.method import failed, paired
from benchmarks.harness.processes.usage import MachineLoad, cpu_seconds
from benchmarks.harness.run_records import RunRecords
from benchmarks.records.layouts import Record
from benchmarks.sides import PEERS, check_name, our_side, peer_side
from engine.errors import UserError
from engine.limits import usable_cores
from engine.train.ranks.process import limit_spinning

if TYPE_CHECKING:
    from benchmarks.sides.predictors import PredictingSide

_NETWORKS = ("resnet18", "mobilenetv3_small_100")
_CLASSES = 1000
_COMPARED = 32


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    # It acts on the import of torch, and for both sides.
    limit_spinning()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    records = RunRecords(options.json)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images" / "all").mkdir(parents=True)
        photos = unpack(options.data, options.images, folder / "images" / "all")
        for network in options.network:
            print(f"{network}, {options.cores} cores:", end="", flush=True)
            with MachineLoad(options.cores) as load:
                measured = _measure(network, photos, folder, options)
            records.add(_facts(network, photos, options), measured, load.facts)
    return records.end()


@dataclass(frozen=True)
class _Took:
    seconds: float
    cpu_seconds: float


def _measure(network: str, photos: list[Path], folder: Path, options: argparse.Namespace) -> Record:
    """A record's measured part."""
    import torch

    from benchmarks.sides.predictors import PredictTask

    torch.set_num_threads(options.cores)
    sides = (our_side("predict", "ours"), peer_side("predict", options.against))
    try:
        weights = _weights(folder / network, network, options.resolution[0])
        # The table of each side in its own file.
        opened = [
            side.open_side(
                PredictTask(
                    weights=weights,
                    network=network,
                    batch=options.batch,
                    cores=options.cores,
                    output=folder / f"table{number}",
                )
            )
            for number, side in enumerate(sides)
        ]
        shown = photos[:_COMPARED]
        ours, theirs = (side.pixels(shown).astype(np.int64) for side in opened)
        taken: tuple[list[_Took], list[_Took]] = ([], [])
        for turn in range(1 + options.rounds):
            for rounds, side in zip(taken, opened, strict=True):
                took = _timed(side, photos)
                # The first is a warm-up.
                rounds += [took] if turn else []
            if turn:
                print(f" {taken[1][-1].seconds / taken[0][-1].seconds:.2f}", end="", flush=True)
    except UserError as error:
        print(f" failed: {error}", flush=True)
        return failed(str(error))
    print(flush=True)
    rates = [[len(photos) / took.seconds for took in rounds] for rounds in taken]
    cpu = {
        f"{name}_cpu_ms_per_image": round(
            1000 * statistics.median(took.cpu_seconds for took in rounds) / len(photos), 3
        )
        for name, rounds in zip(("ours", "peer"), taken, strict=True)
    }
    settings = {
        f"{name}_settings": side.settings for name, side in zip(("ours", "peer"), opened, strict=True)
    }
    difference = round(float(np.abs(ours - theirs).mean()), 3)
    return {**paired(*rates), **cpu, **settings, "pixel_difference": difference}


def _timed(side: "PredictingSide", photos: list[Path]) -> _Took:
    begin, cpu = time.perf_counter(), cpu_seconds()
    side.predict(photos)
    return _Took(time.perf_counter() - begin, cpu_seconds() - cpu)


def _weights(folder: Path, network: str, side: int) -> Path:
    """A file of random weights of timm's network, with its card: what they are does not matter to the time."""
    import torch

    from benchmarks.sides.predictors import RATIO
    from engine.models.build import build_model
    from engine.runs.folder import MODEL
    from engine.runs.model_card import CARD_SCHEMA, ModelCard, Preprocessing
    from engine.train.checkpoints.run_weights import save_model

    torch.manual_seed(0)
    arch = f"timm:{network}"
    card = ModelCard(
        schema=CARD_SCHEMA,
        arch=arch,
        num_classes=_CLASSES,
        classes=None,
        use_blurpool=False,
        averaged=False,
        preprocessing=Preprocessing(
            resolution=side,
            ratio=RATIO,
            crop_law="torchvision",
            mean=[0.485, 0.456, 0.406],
            std=[0.229, 0.224, 0.225],
        ),
        accuracies=[],
    )
    folder.mkdir()
    save_model(folder, build_model(arch, _CLASSES, use_blurpool=False), card)
    return folder / MODEL


def _facts(network: str, photos: list[Path], options: argparse.Namespace) -> Record:
    size = sum(path.stat().st_size for path in photos)
    origin = options.data.name if options.data else "made-up photos"
    return {
        "stage": "predict",
        "ours": "ours",
        "peer": options.against,
        "arch": network,
        "resolution": options.resolution[0],
        "scale": [1.0, 1.0],
        "cores": options.cores,
        "cache": "warm",
        "metric": "images_per_second",
        "batch": options.batch,
        "device": "cpu",
        "data": f"{origin}: {len(photos)} images, {size} bytes",
        "turns": "in turns, in one process",
    }


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("predict", __doc__)
    add = parser.add_argument
    peers = list(PEERS["predict"])
    add("--against", default="timm", help=f"choices: {', '.join(peers)} (default: timm)")
    networks = ",".join(_NETWORKS)
    add(
        "--network",
        type=opt.list_of(str),
        default=list(_NETWORKS),
        help=f"names of timm's (default: {networks})",
    )
    parser.add_data()
    add("--images", type=opt.whole(1, 10**6), default=256, help="images at most (default: 256)")
    cores = usable_cores()
    add("--cores", type=opt.whole(1, 1024), default=cores, help=f"cores of each side (default: {cores})")
    parser.add_batch(32)
    parser.add_resolutions([224])
    parser.add_rounds()
    parser.add_json()
    options = parser.parse_args(argv)
    check_name("peer", options.against, peers)
    opt.check_cores([options.cores])
    opt.check_files(options.data, options.json)
    reason = peer_side("predict", options.against).why_not()
    if reason:
        raise UserError(f"--against {options.against}: {reason}")
    return options
