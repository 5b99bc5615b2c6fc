"""`python -m benchmarks train`: images per second of whole training, from the file to the updated weights.

A round is an epoch of a fixed number of images. Ours is train_imagenet.py's trainer (with its log, progress bar and
averaged weights), in turns with a peer in another process. "replay" is the same trainer with batches that lie ready,
the limit for any loader; the other peers are a project's loader and its step. Exit code 1: a side failed.
"""

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import arguments as opt
from benchmarks.harness.images import file_cache
from benchmarks.harness.images.prepared import Images
from benchmarks.harness.images.sizing import gather
from benchmarks.harness.method import LEAST_BATCHES, Round, cpu_ms_per_image, failed, paired
from benchmarks.harness.processes.usage import MachineLoad
from benchmarks.harness.processes.worker import SideError, Worker
from benchmarks.harness.run_records import RunRecords
from benchmarks.records.layouts import Record
from benchmarks.sides import OURS, PEERS, Side, check_name, opponent, our_side
from benchmarks.sides.steps.step_answers import TRAIN_ANSWERS
from benchmarks.sides.steps.step_tasks import PRECISIONS, StepTask, TrainTask
from benchmarks.sides.task import Task
from engine.errors import UserError
from engine.runs.machine import machine

# By device: network, size, batch, images.
_USUAL = {"cuda": ("resnet50", 160, 256, 20_480), "cpu": ("small_resnet", 64, 64, 1024)}


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    pairs = [(ours, peer) for peer in options.against for ours in options.ours]
    storages = {side.storage for ours, peer in pairs for _, side in _sides(ours, peer)}
    images = gather(storages, options.data, options.images)
    records = RunRecords(options.json)
    for ours, peer in pairs:
        print(f"{ours} against {peer}, {options.arch}, {options.resolution} px:", end="", flush=True)
        with MachineLoad(machine()["cores"]) as load:
            measured = _measure(ours, peer, images, options)
        records.add(_facts(ours, peer, images, options), measured, load.facts)
    return records.end()


def _measure(ours: str, peer: str, images: dict[str, Images], options: argparse.Namespace) -> Record:
    sides = _sides(ours, peer)
    taken: tuple[list[Round], list[Round]] = ([], [])
    settings = []
    try:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
            for _, side in sides:
                file_cache.fill_all(images[side.storage].files)
            tasks = [
                _task(images[side.storage], Path(folder, str(n)), options)
                for n, (_, side) in enumerate(sides)
            ]
            first, second = (
                opened.enter_context(Worker(*side, task, answers=TRAIN_ANSWERS))
                for side, task in zip(sides, tasks, strict=True)
            )
            # Both are imported before either works.
            settings = [worker.settings() for worker in (first, second)]
            for worker in (first, second):
                # A warm-up: this epoch compiles, and reads the file for the first time.
                worker.ask("epoch")
            for _ in range(options.rounds):
                for worker, rounds in zip((first, second), taken, strict=True):
                    rounds.append(worker.ask("epoch"))
                print(f" {taken[0][-1].rate / taken[1][-1].rate:.2f}", end="", flush=True)
            limits = first.ask("limits")
    except SideError as error:
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


def _sides(ours: str, peer: str) -> list[tuple[str, Side]]:
    return [(ours, our_side("train", ours)), (peer, opponent("train", ours, peer))]


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
    """The part of a record that is known before the measurement."""
    of_ours, of_peer = (images[side.storage].identity for _, side in _sides(ours, peer))
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
    parser = opt.Parser("train", __doc__)
    add = parser.add_argument
    peers, ours = PEERS["train"], OURS["train"]
    words = "; ".join(f"{name}: {peer.what}" for name, peer in peers.items())
    add("--against", type=opt.list_of(str), action="extend", help=f"{words} (default: all)")
    add(
        "--ours",
        type=opt.list_of(str),
        default=["jpeg-kept"],
        help=f"choices: {', '.join(ours)} (default: jpeg-kept)",
    )
    parser.add_device()
    add("--arch", help="network, as model.arch (default: resnet50 on a GPU, small_resnet on a CPU)")
    add("--resolution", type=opt.whole(8, 4096), help="pixels (default: 160 on a GPU, 64 on a CPU)")
    add("--batch", type=opt.whole(2, 65536), help="images in a batch (default: 256 on a GPU, 64 on a CPU)")
    add("--images", type=opt.whole(8, 10**7), help="of an epoch (default: 20480 on a GPU, 1024 on a CPU)")
    add("--precision", choices=PRECISIONS, default="auto", help="default: each side's own")
    add(
        "--scale",
        type=opt.share,
        default=0.35,
        help="smallest crop area, as a fraction of the image (default: 0.35)",
    )
    parser.add_data()
    parser.add_rounds()
    parser.add_json()
    options = parser.parse_args(argv)
    opt.check_files(options.data, options.json)
    options.against = list(dict.fromkeys(options.against or peers))
    for name in options.against:
        check_name("peer", name, peers)
    for name in options.ours:
        check_name("side of ours", name, ours)
    options.device = opt.device_named(options.device)
    arch, resolution, batch, images = _USUAL[options.device]
    options.arch, options.resolution = options.arch or arch, options.resolution or resolution
    options.batch, options.images = options.batch or batch, options.images or images
    if options.images < LEAST_BATCHES * options.batch:
        raise UserError(f"--images {options.images}: give {LEAST_BATCHES} batches of {options.batch} or more")
    return options
