"""`python -m benchmarks resize`: images per second from packed crops to a finished batch, all on the GPU.

Triton's kernel against plain PyTorch (engine/data/gpu/), in turns, timed by CUDA events on a batch that already
lies on the device: no disk, host or copy is part of it. Every level is compared with the CPU decoder's. Exit code
1: some level differs by more than 1.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import options as opt
from benchmarks.images import Images, prepare
from benchmarks.method import LEAST_ROUNDS, paired
from benchmarks.recording import context, save
from benchmarks.table import Record, table
from engine.data.storage import RAW, YUV420

_MODES = {"yuv420": YUV420.mode, "raw": RAW.mode}
_DTYPE = "bfloat16"


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Packed crops on the device, and the same crops as the CPU decodes them."""

    buffer: Any
    geometry: Any
    mode: int
    decoded: NDArray[np.uint8]


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and write the records as asked for."""
    options = _parse(argv)
    if opt.gpu_is_missing("cuda"):
        return 0
    import torch

    from engine.data.gpu.resize import resizer_name

    device = torch.device("cuda")
    who = resizer_name(device)
    if "Triton kernel" not in who:
        print(f"skipped: here it is done by {who}")
        return 0
    shared = context()
    records: list[Record] = []
    for storage, resolution in itertools.product(options.storage, options.resolution):
        images = prepare(options.data, storage)
        print(f"{storage}, {resolution} px, batch {options.batch}:", end="", flush=True)
        measured = _measure(_batch(images, storage, resolution, options), resolution, options)
        records.append(
            {**_facts(storage, resolution, options), **measured, "data": images.identity, **shared}
        )
        save(options.json, records)
    print(f"\n{table(records)}")
    return 1 if any(record["most_pixel_difference"] > 1 for record in records) else 0


def _batch(images: Images, storage: str, resolution: int, options: argparse.Namespace) -> _Batch:
    import torch

    from engine.data.beton.reader import open_beton
    from engine.data.loading.decode_pool import DecodePool
    from engine.data.sampling.crops import RandomResizedCrop

    crop = RandomResizedCrop(seed=0, epoch=0, min_scale=options.scale)
    ids = np.arange(options.batch) % images.num_samples
    decoded = np.empty((len(ids), resolution, resolution, 3), np.uint8)
    parts: list[NDArray[np.uint8]] = []

    def take(size: int) -> NDArray[np.uint8]:
        parts.append(np.empty(size, np.uint8))
        return parts[-1]

    pool = DecodePool(open_beton(images.beton), workers=1)
    try:
        geometry, bad = pool.pack(ids, crop, take)
        bad += pool.decode(ids, crop, decoded)
    finally:
        pool.close()
    assert not bad, bad
    buffer, plan = (torch.from_numpy(array).cuda() for array in (parts[-1], geometry))
    return _Batch(buffer=buffer, geometry=plan, mode=_MODES[storage], decoded=decoded)


def _measure(batch: _Batch, resolution: int, options: argparse.Namespace) -> Record:
    import torch

    from engine.data.gpu import torch_resize
    from engine.data.gpu.resize import finish_packed

    mean, inverse_std = torch.zeros(3, device="cuda"), torch.ones(3, device="cuda")
    count, dtype = len(batch.geometry), getattr(torch, _DTYPE)
    common = (batch.buffer, batch.geometry, batch.mode)
    out = torch.empty(
        (count, 3, resolution, resolution), dtype=dtype, device="cuda", memory_format=torch.channels_last
    )

    def kernel() -> None:
        finish_packed(*common, resolution, mean, inverse_std, dtype)

    def plain() -> None:
        torch_resize.resize(*common, mean, inverse_std, out)

    first = _seconds_until_done(kernel)
    launches = [_launches(side, options.seconds) for side in (kernel, plain)]
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(options.rounds):
        for number, side in enumerate((kernel, plain)):
            rates[number].append(count * launches[number] / _device_seconds(side, launches[number]))
        print(f" {rates[0][-1]:.0f}/{rates[1][-1]:.0f}", end="", flush=True)
    levels = finish_packed(*common, resolution, mean, inverse_std).permute(0, 2, 3, 1).cpu().numpy()
    difference = np.abs(levels - batch.decoded)
    print(f" img/s, {difference.mean():.1e} levels from the CPU's", flush=True)
    return {
        **paired(*rates),
        "first_call_seconds": round(first, 4),
        "bytes_per_image": round((batch.buffer.numel() + out.numel() * out.element_size()) / count),
        "pixel_difference": float(difference.mean()),
        "most_pixel_difference": float(difference.max()),
    }


def _seconds_until_done(work: Callable[[], None]) -> float:
    """Wall time of one call and of what it started on the device: what a new resolution costs."""
    import torch

    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def _launches(work: Callable[[], None], seconds: float) -> int:
    """How many calls take about `seconds`."""
    _device_seconds(work, 3)
    return max(3, round(seconds * 3 / _device_seconds(work, 3)))


def _device_seconds(work: Callable[[], None], launches: int) -> float:
    """Time on the device from the first call's start to the last one's end."""
    import torch

    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    for _ in range(launches):
        work()
    after.record()
    after.synchronize()
    return float(before.elapsed_time(after)) / 1000


def _facts(storage: str, resolution: int, options: argparse.Namespace) -> Record:
    """A record's keys in the format that ENGINEERING.md fixes, as far as they are known beforehand."""
    return {
        "stage": "resize",
        "ours": f"{storage}-packed",
        "peer": "plain-pytorch",
        "resolution": resolution,
        "scale": [options.scale, 1.0],
        "cores": 1,
        "cache": "warm",
        "metric": "images_per_second",
        "form": f"{_DTYPE}, channels_last, on the GPU, from packed crops that lie there",
        "device": "cuda",
        "batch": options.batch,
    }


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser(prog="python -m benchmarks resize", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--storage", type=opt.list_of(opt.one_of(*_MODES)), default=["yuv420"], help="of: yuv420, raw")
    add("--data", type=Path, help="folder or tar of images (default: made-up photos)")
    add("--json", type=Path, metavar="FILE", help="write the records there, and a table beside it as .md")
    add("--resolution", type=opt.list_of(opt.whole(1, 4096)), default=[128, 160, 192, 224], help="pixels")
    add("--scale", type=opt.share, default=0.08, help="least area of a crop (default: 0.08)")
    add("--batch", type=opt.whole(1, 65536), default=1024, help="images in a batch (default: 1024)")
    add(
        "--rounds", type=opt.whole(LEAST_ROUNDS, 1000), default=LEAST_ROUNDS, help="of each side (default: 5)"
    )
    add("--seconds", type=opt.seconds, default=0.5, help="length of a round, about (default: 0.5)")
    options = parser.parse_args(argv)
    opt.check_files(options.data, options.json)
    return options
