"""Packed crops are finished alike by NumPy's reference, by PyTorch and by the Triton kernel, on any device."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.version import Version

from engine.data.gpu import torch_resize
from engine.data.gpu.resize import finish_packed, resizer_name
from engine.data.storage import JPEG, RAW, YUV420
from engine.data.storage.packing import COLUMNS, FLIP, HEIGHT, LEFT, OFFSET, ROWS, TOP, WIDTH
from tests.data.packed_crops import PackedCrops, random_crops
from tests.train.step.test_no_waiting import waits

MODES = [YUV420.mode, RAW.mode]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
MEAN = torch.tensor([123.7, 116.3, 103.5])
INVERSE_STD = 1 / torch.tensor([58.4, 57.1, 57.4])


def levels(crops: PackedCrops, resolution: int) -> torch.Tensor:
    """Levels before normalising, float32 (n, 3, resolution, resolution)."""
    return finish_packed(
        crops.buffer, crops.geometry, crops.mode, resolution, torch.zeros(3), torch.ones(3), torch.float32
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("resolution", "longest"), [(1, 8), (2, 16), (7, 56), (16, 128), (32, 20), (33, 90), (64, 100)]
)
def test_pixels_match_the_reference(mode: int, resolution: int, longest: int) -> None:
    crops = random_crops(mode, 48, longest)
    ours = levels(crops, resolution).permute(0, 2, 3, 1).numpy()
    difference = np.abs(ours - crops.reference(resolution))
    # Apart from exact halves, which float64 and float32 may round apart, nothing differs.
    assert difference.max() <= 1
    assert difference.mean() < 0.03


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("resolution", "longest"), [(1, 8), (7, 56), (33, 90), (64, 40)])
def test_crops_of_whole_records_equal_packed_ones(mode: int, resolution: int, longest: int) -> None:
    crops = random_crops(mode, 48, longest)
    assert torch.equal(levels(crops.resident(), resolution), levels(crops, resolution))


@pytest.mark.parametrize("mode", MODES)
def test_records_may_lie_beyond_any_32_bit_offset(mode: int) -> None:
    crops = random_crops(mode, 4, 20).resident()
    # Memory that is never touched costs nothing.
    far = torch.empty(2**33, dtype=torch.uint8)
    far[-len(crops.buffer) :] = crops.buffer
    geometry = crops.geometry.clone()
    geometry[:, OFFSET] += len(far) - len(crops.buffer)
    assert torch.equal(levels(replace(crops, buffer=far, geometry=geometry), 8), levels(crops, 8))


def test_plain_pytorch_reads_only_the_crops_columns() -> None:
    """Of a whole record as of a packed region: its work and memory are those of the crop."""
    crops = random_crops(YUV420.mode, 2, 4).resident()
    geometry = crops.geometry.clone()
    geometry[:, [ROWS, COLUMNS]], geometry[:, [TOP, LEFT]] = 4000, 3990
    geometry[:, [HEIGHT, WIDTH]], geometry[:, OFFSET] = 4, 0
    taken = torch_resize._axis(torch_resize._Crops(geometry, geometry.numpy(), 8), LEFT, WIDTH, 1)
    assert taken.extent == 4 and (taken.low == 3990).all()


def test_unscaled_raw_crop_equals_the_stored_bytes() -> None:
    crops = random_crops(RAW.mode, 16, 30)
    for plan, box, record, size in zip(crops.geometry, crops.boxes, crops.records, crops.sizes, strict=True):
        top, left, side = int(box[0]), int(box[1]), int(min(box[2:4]))
        square = plan.clone()[None]
        square[0, [HEIGHT, WIDTH, FLIP]] = torch.tensor([side, side, 1])
        ours = finish_packed(crops.buffer, square, crops.mode, side, torch.zeros(3), torch.ones(3))
        stored = record.reshape(*size, 3)[top : top + side, left : left + side]
        assert (ours[0].permute(1, 2, 0).numpy() == stored[:, ::-1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_normalising_rounds_once_to_the_output_type(
    dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    crops = random_crops(YUV420.mode, 20, 40)
    ours = finish_packed(
        crops.buffer, crops.geometry, crops.mode, 24, MEAN, INVERSE_STD, dtype, memory_format
    )
    assert ours.dtype == dtype
    assert ours.is_contiguous(memory_format=memory_format)
    wanted = (levels(crops, 24) - MEAN.view(3, 1, 1)) * INVERSE_STD.view(3, 1, 1)
    assert torch.equal(ours, wanted.to(dtype))


def test_large_batch_equals_its_images_one_by_one() -> None:
    crops = random_crops(YUV420.mode, 150, 60)
    alone = [
        finish_packed(crops.buffer, plan[None], crops.mode, 16, MEAN, INVERSE_STD) for plan in crops.geometry
    ]
    together = finish_packed(crops.buffer, crops.geometry, crops.mode, 16, MEAN, INVERSE_STD)
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("mode", MODES)
def test_plain_pytorch_reads_the_geometry_once(mode: int) -> None:
    crops = random_crops(mode, 70, 40)
    out = torch.empty((70, 3, 8, 8))
    with waits() as found:
        torch_resize.resize(crops.buffer, crops.geometry, mode, MEAN, INVERSE_STD, out)
    assert found == ["cpu", "numpy"], "one copy of the geometry, and nothing else"


def test_empty_batch_is_finished() -> None:
    crops = random_crops(RAW.mode, 1, 5)
    ours = finish_packed(crops.buffer, crops.geometry[:0], crops.mode, 16, MEAN, INVERSE_STD)
    assert ours.shape == (0, 3, 16, 16)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("buffer", torch.zeros(9), "buffer is torch.float32"),
        ("geometry", torch.zeros(2, 8, dtype=torch.int32), "geometry is torch.int32"),
        ("geometry", torch.zeros(2, 7, dtype=torch.int64), r"of shape \(2, 7\)"),
        ("mode", JPEG.mode, "storage mode 0"),
        ("resolution", 0, "resolution 0"),
        ("mean", torch.zeros(3, dtype=torch.float64), "mean is torch.float64"),
        ("inverse_std", torch.zeros(1), "inverse_std is"),
        ("mean", torch.zeros(3, device="meta"), "mean is on meta"),
    ],
)
def test_wrong_arguments_are_refused(argument: str, value: Any, message: str) -> None:
    crops = random_crops(RAW.mode, 2, 5)
    arguments: dict[str, Any] = {
        "buffer": crops.buffer,
        "geometry": crops.geometry,
        "mode": crops.mode,
        "resolution": 8,
        "mean": MEAN,
        "inverse_std": INVERSE_STD,
    }
    with pytest.raises(ValueError, match=message):
        finish_packed(**{**arguments, argument: value})


def test_resizer_name_gives_the_reason() -> None:
    assert resizer_name(torch.device("cpu")) == "plain PyTorch (Triton does not run on cpu)"


INTERPRETED = """
import json, sys, torch
from engine.data.gpu import torch_resize, triton_resize
from tests.data.packed_crops import random_crops
mean, inverse_std = torch.tensor([123.7, 116.3, 103.5]), 1 / torch.tensor([58.4, 57.1, 57.4])
found = []
for mode, resolution, longest, dtype in json.loads(sys.argv[1]):
    packed = random_crops(mode, 6, longest)
    images = []
    ways = [(torch_resize, packed), (triton_resize, packed)]
    for ours, crops in [*ways, (triton_resize, packed.resident())][: 3 if resolution < 9 else 2]:
        shape = (6, 3, resolution, resolution)
        out = torch.full(shape, 77.0, dtype=getattr(torch, dtype)).to(memory_format=torch.channels_last)
        ours.resize(crops.buffer, crops.geometry, mode, mean, inverse_std, out)
        images.append((out.float() / inverse_std.view(3, 1, 1)))
    difference = (images[0] - images[1]).abs()
    same = torch.equal(images[1], images[-1])
    found.append([same, mode, resolution, dtype, float(difference.max()), float(difference.mean())])
print(json.dumps(found))
"""


@pytest.mark.slow
def test_interpreted_triton_kernel_matches_pytorch(repository: Path) -> None:
    triton = pytest.importorskip("triton")
    if Version(triton.__version__) < Version("3.7") and Version(np.__version__) >= Version("2.4"):
        pytest.skip(f"the interpreter of Triton {triton.__version__} fails with NumPy {np.__version__}")
    cases = [
        (mode, resolution, longest, "float32")
        for mode in MODES
        for resolution, longest in ((1, 8), (5, 24), (34, 40))
    ]
    cases += [(YUV420.mode, 8, 12, dtype) for dtype in ("float16", "bfloat16")]
    # Triton reads the variable when it is imported.
    run = subprocess.run(
        [sys.executable, "-c", INTERPRETED, json.dumps(cases)],
        cwd=repository,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert len(found) == len(cases)
    for case in found:
        same, *_, dtype, most, mean = case
        assert most <= 1, case
        assert same, "crops of whole records are those of packed ones"
        # Triton's interpreter cuts bfloat16 off where a GPU rounds: up to one step of 2^-7 between 2 and 4.
        assert mean < (0.5 if dtype == "bfloat16" else 1e-3), case


def test_triton_kernel_has_no_size_compiled_in() -> None:
    pytest.importorskip("triton")
    from engine.data.gpu import triton_resize

    baked = [
        parameter.name
        for parameter in triton_resize._resize_part.params
        if not (parameter.is_constexpr or parameter.do_not_specialize)
    ]
    assert baked == ["buffer", "geometry", "mean", "inverse_std", "out"]


def finished(
    crops: PackedCrops, resolution: int, device: str, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """The normalised batch, made on `device`."""
    return finish_packed(
        crops.buffer.to(device),
        crops.geometry.to(device),
        crops.mode,
        resolution,
        MEAN.to(device),
        INVERSE_STD.to(device),
        dtype,
    )


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("resolution", "longest"), [(1, 8), (33, 90), (128, 400), (224, 300)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gpu_matches_the_cpu(mode: int, resolution: int, longest: int, dtype: torch.dtype) -> None:
    crops = random_crops(mode, 40, longest)
    here = finished(crops, resolution, "cpu", dtype)
    there = finished(crops, resolution, "cuda", dtype)
    assert there.dtype == dtype
    assert there.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(there, finished(crops.resident(), resolution, "cuda", dtype))
    difference = (here.float() - there.cpu().float()).abs() / INVERSE_STD.view(3, 1, 1)
    assert difference.max() < 1.01 + 4 * torch.finfo(dtype).eps * 58 * 3
    assert difference.mean() < 1e-3


@pytest.mark.gpu
def test_plain_pytorch_on_a_gpu_matches_the_kernel() -> None:
    crops = random_crops(YUV420.mode, 40, 200)
    buffer, geometry = crops.buffer.cuda(), crops.geometry.cuda()
    mean, inverse_std = torch.zeros(3, device="cuda"), torch.ones(3, device="cuda")
    kernel = finish_packed(buffer, geometry, crops.mode, 96, mean, inverse_std)
    plain = torch.empty_like(kernel)
    torch_resize.resize(buffer, geometry, crops.mode, mean, inverse_std, plain)
    assert (kernel - plain).abs().max() <= 1
    assert (kernel - plain).abs().mean() < 1e-3


@pytest.mark.gpu
def test_new_resolution_or_batch_size_compiles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "Triton kernel" not in resizer_name(torch.device("cuda")):
        pytest.skip(resizer_name(torch.device("cuda")))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    crops = random_crops(YUV420.mode, 40, 100)
    compiled = []
    for count, resolution in ((40, 128), (40, 224), (1, 1), (17, 161), (16, 16)):
        finished(replace(crops, geometry=crops.geometry[:count]), resolution, "cuda")
        compiled.append(len(list(tmp_path.rglob("*.cubin"))))
    assert compiled == [compiled[0]] * 5
