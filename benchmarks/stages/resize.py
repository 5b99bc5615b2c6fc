"""`python -m benchmarks resize`: images per second from packed crops to a finished batch, all on the GPU.

Triton's kernel against plain PyTorch (engine/data/gpu/), in turns, timed by CUDA events on a batch that is already on
the device: no disk, host or copy is involved. Every level is compared with the CPU decoder's. Exit code 1: a level
differs by more than 1.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import arguments as opt
from benchmarks.harness.images.prepared import Images, prepare
from benchmarks.harness.method import paired
from benchmarks.harness.run_records import RunRecords
from benchmarks.records.layouts import Record
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
    """Measure, save and print the records; returns the exit code."""
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
    records = RunRecords(options.json)
    for storage, resolution in itertools.product(options.storage, options.resolution):
        images = prepare(options.data, storage)
        print(f"{storage}, {resolution} px, batch {options.batch}:", end="", flush=True)
        measured = _measure(_batch(images, storage, resolution, options), resolution, options)
        records.add(_facts(storage, resolution, options), measured, {"data": images.identity})
    return records.end(lambda record: record["most_pixel_difference"] <= 1)


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
    """The part of a record that is known before the measurement."""
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
    parser = opt.Parser("resize", __doc__)
    add = parser.add_argument
    add(
        "--storage",
        type=opt.list_of(opt.one_of(*_MODES)),
        default=["yuv420"],
        help="choices: yuv420, raw (default: yuv420)",
    )
    parser.add_data()
    parser.add_json()
    parser.add_resolutions([128, 160, 192, 224], least=1)
    add(
        "--scale",
        type=opt.share,
        default=0.08,
        help="smallest crop area, as a fraction of the image (default: 0.08)",
    )
    parser.add_batch(1024)
    parser.add_rounds()
    parser.add_seconds(0.5)
    options = parser.parse_args(argv)
    opt.check_files(options.data, options.json)
    return options
