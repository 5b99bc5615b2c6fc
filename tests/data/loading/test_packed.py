"""Packed crops finished by plain PyTorch are the decoded images; who does the work is said; what lies on the host."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from engine.data.beton.reader import Beton, Storage
from engine.data.loading.decode_pool import DecodePool
from engine.data.loading.loader import MEAN, STD, Loader
from engine.data.native.library import library
from engine.data.sampling.crops import FLIP, CenterCrop, CropLaw, ResizeThenCrop
from engine.data.storage.packing import COLUMNS, GEOMETRY_COLUMNS, OFFSET, ROWS
from engine.errors import UserError
from tests.data.loaders import COUNT, CPU, LAW, RESOLUTION, ids_of, load, threads

Stored = Callable[[Storage], Beton]
Way = tuple[Beton, str]


def _levels(images: torch.Tensor) -> torch.Tensor:
    """Normalised images as the levels, 0 to 255, that they were."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return images * std + mean


# Packed or decoded


@pytest.mark.parametrize("storage", ["raw", "yuv420"])
@pytest.mark.parametrize("resolution", [24, 32, 80])
@pytest.mark.parametrize("law", [LAW, CenterCrop(ratio=0.875)], ids=["random", "centre"])
def test_packed_images_equal_decoded_ones_within_a_level(
    stored: Stored, storage: Storage, resolution: int, law: CropLaw
) -> None:
    beton, ids = stored(storage), [np.arange(COUNT)]
    (packed,), (decoded,) = (load(beton, ids, resolution, law, decoder=way) for way in ("packed", "cpu"))
    assert (_levels(packed.images) - _levels(decoded.images)).abs().max() < 1.001
    assert torch.equal(packed.labels, decoded.labels)
    if law is LAW:
        flips = law.boxes(ids[0], np.full(COUNT, 64), np.full(COUNT, 64))[:, FLIP]
        assert 0 < flips.sum() < COUNT, "some of them are flipped and some are not"


@pytest.mark.parametrize("storage", ["raw", "yuv420"])
def test_packing_loader_decodes_crops_that_cannot_be_packed(stored: Stored, storage: Storage) -> None:
    """One that packs, between two crops of torchvision's: each iteration goes the way that its crops can go."""
    beton, ids, law = stored(storage), [np.arange(COUNT)], ResizeThenCrop.of(32, 0.875)
    (expected,) = load(beton, ids, 32, law, decoder="cpu")
    (packed,) = load(beton, ids, 32, LAW, decoder="packed")
    with Loader(beton, device=CPU, decoder="packed") as loader:
        for crop, wanted in ((law, expected), (LAW, packed), (law, expected)):
            (found,) = loader.batches(ids, 32, crop)
            assert torch.equal(found.images, wanted.images)


@pytest.mark.parametrize(
    ("storage", "wanted", "name"),
    [
        ("jpeg", "auto", "jpeg"),
        ("raw", "auto", "raw"),
        ("proportion", "cpu", "proportion"),
        ("yuv420", "auto", "yuv420"),
        ("yuv420", "cpu", "yuv420"),
        ("raw", "packed", "raw-packed"),
        ("yuv420", "packed", "yuv420-packed"),
    ],
)
def test_auto_decoder_on_a_cpu_decodes_and_is_named(
    stored: Stored, storage: Storage, wanted: str, name: str
) -> None:
    with Loader(stored(storage), device=CPU, decoder=wanted) as loader:
        found, detail = loader.decoder
    assert found == name
    if wanted == "packed":
        assert "packed on the CPU and finished on the CPU by plain PyTorch" in detail
    else:
        assert detail.startswith("decoded on the CPU in " + ("C" if library() else "numba"))


@pytest.mark.parametrize("storage", ["jpeg", "proportion"])
def test_unpackable_file_is_refused_and_leaves_nothing(stored: Stored, storage: Storage) -> None:
    with pytest.raises(UserError) as caught:
        Loader(stored(storage), device=CPU, decoder="packed")
    message = str(caught.value)
    assert f"{stored(storage).path} stores {storage} images, which can't be packed" in message
    assert "data.decoder=auto" in message and "--output.format=yuv420" in message and "\n" not in message
    assert threads() == []


# What lies on the host


def test_host_batches_finished_by_hand_equal_the_batches(way: Way) -> None:
    beton, decoder = way
    expected = load(beton, decoder=decoder)
    with Loader(beton, device=CPU, workers=2, batches_ahead=1, decoder=decoder) as loader:
        host = loader.host_batches(ids_of(beton), RESOLUTION, LAW)
        for batch, wanted in zip(host, expected, strict=True):
            images = loader._delivery.finish(batch.pixels, batch.geometry, RESOLUTION)
            assert torch.equal(images, wanted.images) and torch.equal(batch.labels, wanted.labels)
            np.testing.assert_array_equal(batch.ids, wanted.ids)


@pytest.mark.parametrize("way", ["jpeg", "raw", "yuv420"], indirect=True)
def test_decoded_host_batch_holds_the_pixels(way: Way) -> None:
    beton, decoder = way
    pool, ids = DecodePool(beton, 1), np.arange(9)
    pixels = np.empty((9, RESOLUTION, RESOLUTION, 3), np.uint8)
    assert pool.decode(ids, LAW, pixels) == []
    pool.close()
    with Loader(beton, device=CPU, decoder=decoder) as loader:
        (batch,) = loader.host_batches([ids], RESOLUTION, LAW)
        assert batch.geometry is None
        np.testing.assert_array_equal(batch.pixels.numpy(), pixels)


@pytest.mark.parametrize("way", ["raw-packed", "yuv420-packed"], indirect=True)
def test_packed_host_batch_holds_only_the_crops_bytes(way: Way) -> None:
    beton, decoder = way
    pool, taken = DecodePool(beton, 1), np.empty(0, np.uint8)

    def take(size: int) -> np.ndarray:
        nonlocal taken
        taken = np.zeros(size, np.uint8)
        return taken

    geometry, bad = pool.pack(np.arange(9), LAW, take)
    pool.close()
    assert bad == []
    with Loader(beton, device=CPU, decoder=decoder) as loader:
        (batch,) = loader.host_batches([np.arange(9)], RESOLUTION, LAW)
        assert batch.geometry is not None and batch.geometry.shape == (9, GEOMETRY_COLUMNS)
        np.testing.assert_array_equal(batch.geometry.numpy(), geometry)
        assert batch.pixels.shape == (len(taken),)
        # Between the samples, which start at multiples of 16, lies anything.
        per_pixel = 3 if beton.storage == "raw" else 1.5
        for plan in geometry:
            size = int(plan[ROWS] * plan[COLUMNS] * per_pixel)
            sample = slice(plan[OFFSET], plan[OFFSET] + size)
            np.testing.assert_array_equal(batch.pixels[sample].numpy(), taken[sample])
        assert len(taken) < beton.sizes[:9].sum()


def test_host_batch_stays_unchanged_until_the_next(way: Way) -> None:
    beton, decoder = way
    with Loader(beton, device=CPU, workers=2, batches_ahead=0, decoder=decoder) as loader:
        addresses = []
        for batch in loader.host_batches(ids_of(beton, 6), RESOLUTION, LAW):
            before = batch.pixels.clone()
            # With a single slot the producer can only wait for it.
            with pytest.raises(RuntimeError, match="still open"):
                next(loader.batches(ids_of(beton), 64, LAW))
            assert torch.equal(batch.pixels, before)
            addresses.append(batch.pixels.data_ptr())
        if decoder == "cpu":
            assert all(one == other for one, other in pairwise(addresses)), "one memory for all batches"
