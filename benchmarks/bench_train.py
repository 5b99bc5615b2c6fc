"""`python -m benchmarks train`: images per second of whole training, from the file to the updated weights.

A round is an epoch of a fixed number of images: of ours by train_imagenet.py's own trainer (with its log, progress bar
and averaged weights), in turns with a peer in a process of its own. "replay" is the same trainer with batches that lie
ready, which no loader can beat; the others are a project's loader and its step. Exit code 1: a side failed.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import options as opt
from benchmarks import page_cache
from benchmarks.images import Images
from benchmarks.load import MachineLoad
from benchmarks.method import LEAST_BATCHES, LEAST_ROUNDS, cpu_ms_per_image, failed, paired
from benchmarks.peers import check_name
from benchmarks.peers.base import Task
from benchmarks.recording import context, save
from benchmarks.sizing import gather
from benchmarks.steps import PRECISIONS, StepTask
from benchmarks.steps.answers import timed
from benchmarks.table import Record, table
from benchmarks.trains import OURS, PEERS, REPLAY, TrainContender, TrainTask, peer_of
from benchmarks.worker import ContenderError, Round, Worker
from engine.errors import UserError
from engine.report.machine import machine

# By device: network, size, batch, images.
_USUAL = {"cuda": ("resnet50", 160, 256, 20_480), "cpu": ("small_resnet", 64, 64, 1024)}


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and write the records as asked for."""
    options = _parse(argv)
    pairs = [(ours, peer) for peer in options.against for ours in options.ours]
    storages = {side.storage for ours, peer in pairs for side in (OURS[ours], peer_of(ours, peer))}
    images = gather(storages, options.data, options.images)
    shared = context()
    records: list[Record] = []
    for ours, peer in pairs:
        print(f"{ours} against {peer}, {options.arch}, {options.resolution} px:", end="", flush=True)
        with MachineLoad(machine()["cores"]) as load:
            measured = _measure(ours, peer, images, options)
        records.append({**_facts(ours, peer, images, options), **measured, **load.facts, **shared})
        save(options.json, records)
    print(f"\n{table(records)}")
    return 1 if any(record.get("failed") for record in records) else 0


def _measure(ours: str, peer: str, images: dict[str, Images], options: argparse.Namespace) -> Record:
    sides: list[tuple[str, TrainContender]] = [(ours, OURS[ours]), (peer, peer_of(ours, peer))]
    taken: tuple[list[Round], list[Round]] = ([], [])
    settings = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for _, side in sides:
                page_cache.fill_all(images[side.storage].files)
            tasks = [
                _task(images[side.storage], Path(folder, str(n)), options)
                for n, (_, side) in enumerate(sides)
            ]
            with _open(*sides[0], tasks[0]) as first, _open(*sides[1], tasks[1]) as second:
                # Both are imported before either works.
                settings = [worker.settings() for worker in (first, second)]
                for worker in (first, second):
                    # To warm up: the epoch that compiles, and reads the file for the first time.
                    worker.ask("epoch")
                for _ in range(options.rounds):
                    for worker, rounds in zip((first, second), taken, strict=True):
                        rounds.append(worker.ask("epoch"))
                    print(f" {taken[0][-1].rate / taken[1][-1].rate:.2f}", end="", flush=True)
                limits = first.ask("limits")
    except ContenderError as error:
        print(f" failed: {error}", flush=True)
        return failed(str(error))
    print(flush=True)
    return {
        **paired(*([each.rate for each in rounds] for rounds in taken)),
        "ours_cpu_ms_per_image": cpu_ms_per_image(taken[0]),
        "peer_cpu_ms_per_image": cpu_ms_per_image(taken[1]),
        "other_cores": round(max(each.other_cores for each in (*taken[0], *taken[1])), 3),
        "limits": limits,
        "ours_settings": settings[0],
        "peer_settings": settings[1],
    }


def _open(name: str, side: TrainContender, task: TrainTask) -> Worker:
    return Worker(name, side, task, answers={"epoch": _epoch, "settings": _settings, "limits": _limits})


def _epoch(side: Any, task: TrainTask) -> Round:
    return timed(task.steps * task.images.batch, side.epoch)


def _limits(side: Any, task: TrainTask) -> dict[str, str]:
    """What limited our last epoch, as its log has it."""
    found: dict[str, str] = side.limits
    return found


def _settings(side: Any, task: TrainTask) -> str:
    return str(side.settings)


def _task(images: Images, folder: Path, options: argparse.Namespace) -> TrainTask:
    folder.mkdir()
    cores = machine()["cores"]
    return TrainTask(
        step=StepTask(
            arch=options.arch,
            blurpool=False,
            precision=options.precision,
            compile=False,
            device=options.device,
            cores=cores,
        ),
        images=Task(
            beton=images.beton,
            folder=images.folder,
            num_samples=images.num_samples,
            resolution=options.resolution,
            scale=(options.scale, 1.0),
            batch=options.batch,
            cores=cores,
            form="cuda" if options.device == "cuda" else "cpu",
        ),
        steps=images.num_samples // options.batch,
        folder=folder,
    )


def _facts(ours: str, peer: str, images: dict[str, Images], options: argparse.Namespace) -> Record:
    """A record's keys in the format that ENGINEERING.md fixes, as far as they are known beforehand, and more."""
    of_ours, of_peer = images[OURS[ours].storage].identity, images[peer_of(ours, peer).storage].identity
    different: Record = {} if of_ours == of_peer else {"peer_data": of_peer}
    return {
        "stage": "train",
        "ours": ours,
        "peer": peer,
        "resolution": options.resolution,
        "scale": [options.scale, 1.0],
        "cores": machine()["cores"],
        "cache": "warm",
        "metric": "images_per_second",
        "data": of_ours,
        **different,
        "form": f"{options.arch}, epochs of {options.images} images, from the file to the updated weights",
        "device": options.device,
        "batch": options.batch,
        "images": options.images,
        "arch": options.arch,
        "precision": options.precision,
    }


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser(prog="python -m benchmarks train", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    peers = {REPLAY: peer_of("jpeg", REPLAY), **PEERS}
    words = "; ".join(f"{name}: {peer.what}" for name, peer in peers.items())
    add("--against", type=opt.list_of(str), action="extend", help=f"{words} (default: all)")
    add(
        "--ours",
        type=opt.list_of(str),
        default=["jpeg-kept"],
        help=f"of: {', '.join(OURS)} (default: jpeg-kept)",
    )
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: a GPU where there is one")
    add("--arch", help="network, as model.arch (default: resnet50 on a GPU, small_resnet on a CPU)")
    add("--resolution", type=opt.whole(8, 4096), help="pixels (default: 160 on a GPU, 64 on a CPU)")
    add("--batch", type=opt.whole(2, 65536), help="images in a batch (default: 256 on a GPU, 64 on a CPU)")
    add("--images", type=opt.whole(8, 10**7), help="of an epoch (default: 20480 on a GPU, 1024 on a CPU)")
    add("--precision", choices=PRECISIONS, default="auto", help="default: what each side usually takes")
    add("--scale", type=opt.share, default=0.35, help="least crop area (default: 0.35)")
    add("--data", type=Path, help="folder or tar of images (default: made-up photos)")
    add(
        "--rounds", type=opt.whole(LEAST_ROUNDS, 1000), default=LEAST_ROUNDS, help="of each side (default: 5)"
    )
    add("--json", type=Path, metavar="FILE", help="write the records there, and a table beside it as .md")
    options = parser.parse_args(argv)
    opt.check_files(options.data, options.json)
    options.against = list(dict.fromkeys(options.against or peers))
    for name in options.against:
        check_name("peer", name, peers)
    for name in options.ours:
        check_name("file of ours", name, OURS)
    options.device = opt.device_named(options.device)
    arch, resolution, batch, images = _USUAL[options.device]
    options.arch, options.resolution = options.arch or arch, options.resolution or resolution
    options.batch, options.images = options.batch or batch, options.images or images
    if options.images < LEAST_BATCHES * options.batch:
        raise UserError(f"--images {options.images}: give {LEAST_BATCHES} batches of {options.batch} or more")
    return options
