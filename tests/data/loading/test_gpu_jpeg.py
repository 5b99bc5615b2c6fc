"""data.decoder=gpu: regions of JPEGs, resized by our law, and whatever nvJPEG should not decode, by the CPU.

All but the last test run by nvImageCodec's CPU backend, through the loader and otherwise as on a GPU.
"""

import io
from collections.abc import Callable
from contextlib import closing

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from engine.data.beton.reader import Beton, Storage, open_beton
from engine.data.gpu.nvjpeg import RegionDecoder
from engine.data.loading import gpu_jpeg
from engine.data.loading.decode_pool import DecodePool
from engine.data.loading.loader import MEAN, STD, Batch, Loader
from engine.data.sampling.crops import CenterCrop, CropLaw, ResizeThenCrop
from engine.errors import UserError
from tests.data.betons import drop_checksums, fixed, overwrite, record
from tests.data.loaders import COUNT, CPU, LAW, RESOLUTION, assert_same, ids_of, load
from tests.data.nvimgcodec import needs_nvimgcodec

Stored = Callable[[Storage], Beton]
Own = Callable[[Storage], Beton]

WHOLE = CenterCrop(ratio=1.0)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """data.decoder=gpu is not refused here."""
    monkeypatch.setattr(gpu_jpeg, "check_storage", lambda pool, device: None)


def _levels(batch: Batch) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return batch.images.cpu().float() * std + mean


def _put(beton: Beton, sample: int, content: bytes) -> None:
    """Give one sample of a file without checksums another JPEG, which is shorter."""
    room = len(record(beton, sample))
    assert len(content) <= room
    overwrite(beton, sample, content + bytes(room - len(content)))


def _jpeg(beton: Beton, sample: int, **settings: object) -> bytes:
    """A sample's image as another JPEG of its size."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(record(beton, sample))) as image:
        image.save(file, "JPEG", **settings)
    return file.getvalue()


@needs_nvimgcodec
@pytest.mark.parametrize(
    ("law", "resolution"),
    # At 96 px no photo is shrunk, so that the CPU's DCT has no part in it.
    [(CenterCrop(ratio=0.875), 24), (WHOLE, 32), (LAW, 96)],
    ids=["centre", "whole", "random"],
)
def test_images_are_the_exact_decode_within_a_level(
    stored: Stored, on_cpu: None, law: CropLaw, resolution: int
) -> None:
    beton, ids = stored("jpeg"), [np.arange(COUNT)]
    (found,), (exact,) = (load(beton, ids, resolution, law, decoder=way) for way in ("gpu", "cpu"))
    assert (_levels(found) - _levels(exact)).abs().max() < 1.001
    assert torch.equal(found.labels, exact.labels)


@needs_nvimgcodec
def test_crop_at_each_edge_of_a_region_is_exact(own: Own, on_cpu: None) -> None:
    """Sample 0 is 40 x 64 pixels: blocks end at 16, 32, 48; crops end there, one before and one behind."""
    beton = own("jpeg")
    boxes = [(top, left, 9, 11, 0) for top in (0, 7, 8, 15, 16, 31) for left in (0, 5, 15, 16, 37, 53)]
    for box in boxes:
        (found,), (exact,) = (
            load(beton, [np.zeros(1, int)], 32, fixed(box), decoder=way) for way in ("gpu", "cpu")
        )
        assert (_levels(found) - _levels(exact)).abs().max() < 1.001, box


@needs_nvimgcodec
def test_loader_counts_and_resumes_as_with_the_cpu(stored: Stored, on_cpu: None) -> None:
    beton = stored("jpeg")
    expected = load(beton, decoder="gpu")
    with Loader(beton, device=CPU, workers=2, decoder="gpu") as loader:
        name, detail = loader.decoder
        assert name == "jpeg-gpu" and detail.startswith(
            "crops are decoded by nvJPEG and resized by plain PyTorch"
        )
        loader.load_state_dict({"batches": 2})
        assert_same(list(loader.batches(ids_of(beton), RESOLUTION, LAW)), expected[2:])
        assert (loader.skips, loader.new_notes()) == (0, [])
        # Crops between pixels are decoded on the CPU, as of packed files.
        law = ResizeThenCrop.of(32, 0.875)
        assert_same(list(loader.batches(ids_of(beton), 32, law)), load(beton, resolution=32, law=law))


# Samples that are not for nvJPEG


@needs_nvimgcodec
def test_unusual_jpegs_are_decoded_on_the_cpu_and_counted(own: Own, on_cpu: None) -> None:
    beton, ids = own("jpeg"), [np.arange(16)]
    drop_checksums(beton.path)
    # Colours that libjpeg takes for RGB by the header; another size than the table's would be a fault of its own.
    _put(beton, 5, _jpeg(beton, 5, quality=40, keep_rgb=True))
    _put(beton, 9, _jpeg(beton, 9, quality=40, progressive=True))
    beton = open_beton(beton.path)
    (exact,) = load(beton, ids, 96)
    with Loader(beton, device=CPU, decoder="gpu") as loader:
        for told in (1, 0):
            (found,) = loader.batches(ids, 96, LAW)
            assert torch.equal(found.images[5], exact.images[5])
            assert (_levels(found) - _levels(exact)).abs().max() < 1.001
            notes = loader.new_notes()
            assert len(notes) == told
            assert not told or (
                f"{beton.path}: of 16 JPEGs used so far 1 are decoded on the CPU, the first is sample 5: "
                in notes[0]
            )


@needs_nvimgcodec
def test_damage_that_the_library_passes_is_refused(own: Own, on_cpu: None) -> None:
    beton, ids = own("jpeg"), [np.arange(16)]
    drop_checksums(beton.path)
    (before,) = load(beton, ids, law=WHOLE, decoder="gpu")
    data = record(beton, 3)
    middle = len(data) * 2 // 3
    overwrite(beton, 3, bytes(255 - byte for byte in data[middle : middle + 40]), offset=middle)
    beton = open_beton(beton.path)
    height, width = int(beton.images["height"][3]), int(beton.images["width"][3])
    with closing(DecodePool(beton, 1)) as pool:
        (passed,) = RegionDecoder(CPU, 1).decode([pool.record(3)], np.array([[0, 0, height, width]]))
    assert passed is not None, "else this test shows nothing"
    with (
        Loader(beton, device=CPU, decoder="gpu") as loader,
        pytest.raises(
            UserError, match=r"sample 3 \(.*\) can't be used: its JPEG data is damaged \(Corrupt JPEG"
        ),
    ):
        list(loader.batches(ids, RESOLUTION, WHOLE))
    with Loader(beton, device=CPU, decoder="gpu", corrupt="skip", verify="never") as loader:
        (found,) = loader.batches(ids, RESOLUTION, WHOLE)
        others = np.delete(np.arange(16), 3)
        np.testing.assert_array_equal(found.ids, others)
        assert torch.equal(found.images, before.images[torch.from_numpy(others)])
        assert loader.skips == 1 and len(loader.new_skips()) == 1
        with pytest.raises(UserError, match="no sample of its batch of 1 can be used"):
            list(loader.batches([np.array([3])], RESOLUTION, WHOLE))


@needs_nvimgcodec
@pytest.mark.parametrize("verify", ["first-epoch", "always"])
def test_changed_bytes_are_found_by_their_checksum(own: Own, on_cpu: None, verify: str) -> None:
    beton, ids = own("jpeg"), [np.arange(16)]
    with Loader(beton, device=CPU, decoder="gpu", verify=verify) as loader:
        list(loader.batches(ids, RESOLUTION, LAW))
        # Of a kind that no decoder sees: within the header's tables.
        overwrite(beton, 7, bytes([record(beton, 7)[30] ^ 1]), offset=30)
        again = loader.batches(ids, RESOLUTION, LAW)
        if verify == "always":
            with pytest.raises(UserError, match=r"sample 7 .*wrong checksum"):
                next(again)
        else:
            next(again)


@needs_nvimgcodec
@pytest.mark.parametrize(("dropped", "looked_at"), [(False, 0), (True, 16)])
def test_libjpeg_looks_once_at_what_the_conversion_did_not(
    own: Own, on_cpu: None, monkeypatch: pytest.MonkeyPatch, dropped: bool, looked_at: int
) -> None:
    beton, seen = own("jpeg"), []
    if dropped:
        drop_checksums(beton.path)
        beton = open_beton(beton.path)
    monkeypatch.setattr(gpu_jpeg, "verify", lambda content, header: seen.append(len(content)))
    with Loader(beton, device=CPU, workers=2, decoder="gpu") as loader:
        for _ in range(2):
            list(loader.batches([np.arange(16)], RESOLUTION, LAW))
    assert len(seen) == looked_at


# What is refused


def test_refusals_name_the_way_out(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match=r"^data\.decoder=gpu needs an NVIDIA GPU, and this runs on the CPU: use"
    ):
        Loader(stored("jpeg"), device=CPU, decoder="gpu")
    for storage in ("raw", "yuv420", "proportion"):
        beton = stored(storage)
        with (
            closing(DecodePool(beton, 1)) as pool,
            pytest.raises(
                UserError, match=rf"{beton.path} stores {storage} images, and data\.decoder=gpu decodes"
            ),
        ):
            gpu_jpeg.check_storage(pool, torch.device("cuda"))
    # ROCm's torch calls its devices cuda, too.
    monkeypatch.setattr(torch.version, "hip", "6.4")
    with (
        closing(DecodePool(stored("jpeg"), 1)) as pool,
        pytest.raises(UserError, match="runs on an AMD GPU: use"),
    ):
        gpu_jpeg.check_storage(pool, torch.device("cuda"))


@needs_nvimgcodec
def test_library_that_decodes_nothing_is_an_error(
    stored: Stored, on_cpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(self: RegionDecoder, records: list[NDArray[np.uint8]], regions: object) -> list[None]:
        return [None] * len(records)

    monkeypatch.setattr(RegionDecoder, "decode", nothing)
    with (
        Loader(stored("jpeg"), device=CPU, decoder="gpu") as loader,
        pytest.raises(UserError, match=r"nvJPEG decoded none of 24 JPEGs of .*too old \(pip install "),
    ):
        list(loader.batches(ids_of(stored("jpeg")), RESOLUTION, LAW))


@pytest.mark.gpu
@needs_nvimgcodec
@pytest.mark.parametrize(("law", "resolution"), [(WHOLE, 32), (LAW, 96)], ids=["whole", "random"])
def test_gpu_is_near_the_cpu(
    stored: Stored, record_property: Callable[[str, object], None], law: CropLaw, resolution: int
) -> None:
    beton = stored("jpeg")
    exact = load(beton, resolution=resolution, law=law)
    with Loader(beton, device=torch.device("cuda"), workers=2, decoder="gpu") as loader:
        # Twice: slots are filled again while batches of before are in use.
        for _ in range(2):
            found = list(loader.batches(ids_of(beton), resolution, law))
            away = torch.cat(
                [(_levels(one) - _levels(two)).abs() for one, two in zip(found, exact, strict=True)]
            )
            record_property("levels apart", f"mean {away.mean():.3f}, most {away.max():.0f}")
            # nvJPEG's inverse DCT is not libjpeg's: a level or two on average would be another image.
            assert away.mean() < 1 and away.max() < 24
        assert loader.new_notes() == []
