"""`python -m benchmarks roofline`: how far a training step and the JPEG decoder are from the machine's limits.

The step: images per second against the lower of two limits, its FLOPs at the device's measured matrix rate and its
estimated bytes at the measured memory bandwidth. The decoder: one core of ours, with crop and resize, against
libjpeg-turbo's tjbench on the same JPEG data. In turns. Without tjbench a line says so, and there is no record of the
decoder.
"""

import argparse
import itertools
import statistics
from collections.abc import Sequence

from engine.train.ranks.process import limit_spinning

# ruff: noqa: E402
# As train_imagenet.py does; it has no effect once torch is imported.
limit_spinning()

import torch

from benchmarks.harness import arguments as opt
from benchmarks.harness.images.exports import SOURCE, jpegs
from benchmarks.harness.images.prepared import Images, prepare
from benchmarks.harness.method import failed, paired, warm_up
from benchmarks.harness.processes.usage import MachineLoad
from benchmarks.harness.processes.worker import SideError
from benchmarks.harness.run_records import RunRecords
from benchmarks.harness.turns import Work, take_turns
from benchmarks.records.layouts import Record
from benchmarks.sides import tjbench
from benchmarks.sides.roofline_limits import ESTIMATE, copy_work, matrix_work, step_cost
from benchmarks.sides.steps.local_step import TrainingStep, ranks_here, set_up_device, step_config
from benchmarks.sides.steps.step_tasks import PRECISIONS
from benchmarks.stages.decode import decoder_case
from engine.data.beton.reader import open_beton
from engine.runs.machine import machine
from engine.train.step.precision import choose_precision

# By device: network, sizes, batch.
_USUAL: dict[str, tuple[str, list[int], int]] = {
    "cuda": ("resnet50", [128, 160, 192, 224], 256),
    "cpu": ("resnet18", [64, 128], 32),
}
# Evenly spaced images that tjbench decodes in a round.
_FILES = 6


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    records = RunRecords(options.json)
    if "step" in options.what:
        for precision, side in itertools.product(options.precision, options.resolution):
            records.add(_step(precision, side, options))
    if "decode" in options.what:
        if tjbench.is_there():
            for scale in options.scale:
                records.add(_decode(scale, options))
        else:
            print("left out: decode: tjbench is not installed (Debian: libjpeg-turbo-progs)", flush=True)
    return records.end()


def _step(precision: str, side: int, options: argparse.Namespace) -> Record:
    device = set_up_device()
    arch, batch = options.arch or _USUAL[device.type][0], options.batch or _USUAL[device.type][2]
    chosen = choose_precision(precision, device)
    print(f"step, {arch}, {side} px, {chosen.name}, batch {batch}:", end="", flush=True)
    config = step_config(
        arch, batch, {"training.precision": chosen.name, "training.compile": options.compile}
    )
    step = TrainingStep(config, ranks_here(device), side=side)
    cost = step_cost(step.model, batch=batch, side=side, dtype=chosen.input_dtype)
    (product, flops), (copy, moved) = matrix_work(device, chosen.input_dtype), copy_work(device)
    with MachineLoad(machine()["cores"]) as load:
        taken = take_turns(
            [Work(call=step), product, copy],
            device,
            rounds=options.rounds,
            seconds=options.seconds,
            tell=lambda word: print(f" {word}", end="", flush=True),
        )
    print(" ms", flush=True)
    matrix_rates, bandwidths = [flops / each for each in taken[1]], [moved / each for each in taken[2]]
    by_matrix = [rate / cost.flops for rate in matrix_rates]
    by_memory = [rate / cost.bytes for rate in bandwidths]
    limits = [min(pair) for pair in zip(by_matrix, by_memory, strict=True)]
    rates = statistics.median(matrix_rates), statistics.median(bandwidths)
    compute = statistics.median(by_matrix) < statistics.median(by_memory)
    return {
        **_facts("step", side, machine()["cores"], options),
        **paired([batch / each for each in taken[0]], limits),
        **load.facts,
        "peer": "roofline",
        "precision": chosen.name,
        "limit_by": "matrix products" if compute else "memory",
        "per_image": f"{cost.flops / 1e9:.2f} GFLOP, {cost.bytes / 1e6:.0f} MB",
        "device_rates": f"{rates[0] / 1e9:,.0f} GFLOP/s, {rates[1] / 1e9:.1f} GB/s",
        "flops_per_image": cost.flops,
        "bytes_per_image": cost.bytes,
        "matrix_flops_per_second": rates[0],
        "memory_bytes_per_second": rates[1],
        "arch": arch,
        "batch": batch,
        "form": f"{arch}, images on the device already; {ESTIMATE}",
        "data": "noise and random labels, on the device",
        "device": device.type,
        "turns": "in turns, in one process",
    }


def _decode(scale: float, options: argparse.Namespace) -> Record:
    images = prepare(options.data, SOURCE, options.images)
    beton = open_beton(images.beton)
    pixels = float((beton.images["width"].astype(float) * beton.images["height"]).mean())
    step = max(1, images.num_samples // _FILES)
    files = [jpeg for number, (jpeg, _) in enumerate(jpegs(images.beton)) if number % step == 0][:_FILES]
    side = options.decode_resolution
    print(f"decode, {side} px, least crop {scale:g}, one core:", end="", flush=True)
    with MachineLoad(1) as load:
        ours, theirs, error = _decode_turns(images, files, pixels, scale, options)
    facts = {
        **_facts("decode", side, 1, options),
        "peer": "tjbench",
        "scale": [scale, 1.0],
        "precision": "uint8",
        "limit_by": "tjbench",
        "data": images.identity,
        "form": "whole images to RGB by tjbench; by ours the crop alone, resized to the resolution",
        "device": "cpu",
        "batch": options.decode_batch,
        **load.facts,
    }
    if error:
        return {**facts, **failed(error), "per_image": "", "device_rates": ""}
    ns = [1e9 / (statistics.median(side_rates) * pixels) for side_rates in (ours, theirs)]
    return {
        **facts,
        **paired(ours, theirs),
        "per_image": f"{pixels / 1e3:.0f} kpixels; ns each: ours {ns[0]:.2f}, tjbench {ns[1]:.2f}",
        "device_rates": f"{1e3 / ns[1]:,.0f} Mpixels/s",
        "ours_ns_per_pixel": ns[0],
        "peer_ns_per_pixel": ns[1],
    }


def _decode_turns(
    images: Images, files: list[bytes], pixels: float, scale: float, options: argparse.Namespace
) -> tuple[list[float], list[float], str]:
    """Images per second of ours and of tjbench in each round, and the reason if there are none."""
    case = decoder_case(
        SOURCE, "self", cores=1, resolution=options.decode_resolution, scale=scale, batch=options.decode_batch
    )
    ours: list[float] = []
    theirs: list[float] = []
    try:
        with case.open_ours({SOURCE: images}) as worker:
            batches = warm_up(worker, options.seconds, 10**6)
            for number in range(options.rounds):
                ours.append(worker.round(number, batches).rate)
                rate = tjbench.megapixels_per_second(files, options.seconds / len(files))
                theirs.append(rate * 1e6 / pixels)
                print(f" {ours[-1] / theirs[-1]:.2f}", end="", flush=True)
    except SideError as error:
        print(f" failed: {error}", flush=True)
        return [], [], str(error)
    print(flush=True)
    return ours, theirs, ""


def _facts(what: str, side: int, cores: int, options: argparse.Namespace) -> Record:
    return {
        "stage": "roofline",
        "ours": "step" if what == "step" else SOURCE,
        "what": what,
        "resolution": side,
        "scale": [1.0, 1.0],
        "cores": cores,
        "cache": "resident",
        "metric": "images_per_second",
    }


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("roofline", __doc__)
    add = parser.add_argument
    parts = ["step", "decode"]
    add(
        "--what",
        type=opt.list_of(opt.one_of(*parts)),
        default=parts,
        help="choices: step, decode (default: both)",
    )
    add("--arch", help="network, as model.arch (default: resnet50 on a GPU, resnet18 on a CPU)")
    add(
        "--resolution",
        type=opt.list_of(opt.whole(8, 4096)),
        help="of the step (128,160,192,224; on a CPU 64,128)",
    )
    add("--batch", type=opt.whole(2, 65536), help="images in a step (default: 256 on a GPU, 32 on a CPU)")
    precisions = opt.list_of(opt.one_of(*PRECISIONS))
    add("--precision", type=precisions, default=["auto"], help="of the step (default: auto)")
    add("--compile", choices=["on", "off"], default="off", help="the step (default: off)")
    add("--decode-resolution", type=opt.whole(8, 4096), default=224, help="pixels (default: 224)")
    add("--decode-batch", type=opt.whole(1, 65536), default=64, help="images in a batch (default: 64)")
    add(
        "--scale",
        type=opt.list_of(opt.share),
        default=[1.0, 0.35],
        help="smallest crop areas, as a fraction of the image; 1: no random crop (default: 1,0.35)",
    )
    parser.add_data()
    parser.add_images("a few hundred")
    parser.add_rounds()
    parser.add_seconds(1.0)
    parser.add_json()
    options = parser.parse_args(argv)
    opt.check_files(options.data, options.json)
    options.resolution = options.resolution or _USUAL["cuda" if torch.cuda.is_available() else "cpu"][1]
    return options
