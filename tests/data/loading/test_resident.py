"""Records held on the device give the ordinary batches to the bit, for every crop, order, resolution and end."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.data.beton.reader import Beton, Storage, open_beton
from engine.data.loading import resident
from engine.data.loading.loader import Batch, Loader
from engine.data.loading.resident import ResidentData
from engine.data.sampling.crops import CenterCrop, CropLaw, RandomResizedCrop, ResizeThenCrop
from engine.data.sampling.order import batches_of, cut_pages, page_windows, repeated, validation_batches
from engine.errors import UserError
from tests.data.betons import overwrite
from tests.data.loaders import COUNT, CPU, LAW, RESOLUTION, assert_same, ids_of, load, threads

Stored = Callable[[Storage], Beton]
PACKABLE: list[Storage] = ["raw", "yuv420"]


def held(beton: Beton, samples: NDArray[np.int64] | None = None) -> ResidentData:
    """Records in memory, all unless `samples` are given."""
    return ResidentData(beton, np.arange(beton.num_samples) if samples is None else samples, CPU)


def both(
    beton: Beton,
    ids: list[NDArray[np.int64]] | None = None,
    resolution: int = RESOLUTION,
    law: CropLaw = LAW,
    **settings: object,
) -> list[Batch]:
    """The batches of resident records, which are those of packed crops."""
    expected = load(beton, ids, resolution, law, decoder="packed")
    found = load(beton, ids, resolution, law, resident=held(beton), **settings)
    assert_same(found, expected)
    return found


# To the bit


@pytest.mark.parametrize("storage", PACKABLE)
@pytest.mark.parametrize("resolution", [8, 33, 64, 100])
def test_batches_equal_packed_ones_at_any_resolution(
    stored: Stored, storage: Storage, resolution: int
) -> None:
    # Small crops, large ones, and both flips.
    for law in (
        LAW,
        RandomResizedCrop(seed=0, epoch=2, min_scale=0.01, max_aspect=3),
        CenterCrop(ratio=0.875),
    ):
        both(stored(storage), resolution=resolution, law=law)


def test_batches_are_equal_for_any_threads_and_batches_ahead(stored: Stored) -> None:
    for workers, ahead in ((1, 0), (2, 1), (4, 20)):
        both(stored("yuv420"), workers=workers, batches_ahead=ahead)


def test_last_batch_may_be_smaller_or_empty(stored: Stored) -> None:
    beton = stored("yuv420")
    ids = validation_batches(COUNT, batch=20, rank=0, world=1)
    found = both(beton, ids, law=CenterCrop(ratio=1))
    assert [len(batch.ids) for batch in found] == [20, 20, 8]
    assert both(beton, [np.empty(0, np.int64)])[0].images.shape == (0, 3, RESOLUTION, RESOLUTION)


def test_repeats_of_a_sample_have_crops_of_their_own(stored: Stored) -> None:
    views = repeated(np.arange(COUNT), repeats=3, global_batch=12)
    found = both(stored("yuv420"), list(views.reshape(-1, 12)))
    assert not torch.equal(found[0].images[0], found[0].images[4])


def test_iteration_resumes_at_any_batch(stored: Stored) -> None:
    beton = stored("yuv420")
    ids, expected = ids_of(beton), load(beton, decoder="packed")
    with Loader(beton, device=CPU, resident=held(beton)) as loader:
        for done in (1, len(ids) - 1, len(ids), 0):
            loader.load_state_dict({"batches": done})
            assert_same(list(loader.batches(ids, RESOLUTION, LAW)), expected[done:])


def test_page_order_reads_no_windows(stored: Stored) -> None:
    beton = stored("yuv420")
    pages = cut_pages(beton.images["data_ptr"], beton.sizes)
    windows = page_windows(pages, window_bytes=2**23, seed=1, epoch=0)
    ids = list(batches_of(windows.order, global_batch=12, accumulation=1, rank=0, world=1)[:, 0])
    with Loader(beton, device=CPU, resident=held(beton), in_memory=False) as loader:
        batches = loader.batches(ids, RESOLUTION, LAW, windows)
        first = next(batches)
        assert "windows" not in " ".join(threads())
        assert_same([first, *batches], load(beton, ids, decoder="packed"))


def test_crops_between_pixels_are_decoded_from_the_file(stored: Stored) -> None:
    beton, law = stored("yuv420"), ResizeThenCrop.of(32, 0.875)
    expected = load(beton, None, 32, law, decoder="cpu")
    assert_same(load(beton, None, 32, law, resident=held(beton)), expected)


def test_records_are_copied_alike_in_chunks_of_any_size(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    beton = stored("yuv420")
    # The records' order is that of the file, whatever the samples' is.
    data = held(beton, np.arange(COUNT)[::-1].copy())
    data.fill(verify=True)
    for chunk in (1000, 2**14 + 1):
        monkeypatch.setattr(resident, "_CHUNK", chunk)
        again = held(beton)
        again.fill(verify=True)
        assert torch.equal(again.buffer, data.buffer)
    assert data.nbytes == len(data.buffer) == beton.sizes.sum()


# What is not as usual


def test_loader_names_itself_and_gives_the_memory_back(stored: Stored) -> None:
    beton = stored("yuv420")
    data = held(beton)
    with Loader(beton, device=CPU, resident=data) as loader:
        name, detail = loader.decoder
        assert name == "yuv420-resident" and "resident in memory; crops are cut there" in detail
        assert loader.resident_bytes == data.nbytes
        (host, *_) = loader.host_batches(ids_of(beton), RESOLUTION, LAW)
        assert host.pixels.numel() == 0, "nothing but numbers is left to copy"
    assert len(data.buffer) == 0 and threads() == []


def test_sample_of_another_part_is_refused(stored: Stored) -> None:
    beton = stored("yuv420")
    with Loader(beton, device=CPU, resident=held(beton, np.arange(0, COUNT, 2))) as loader:
        assert len(list(loader.batches([np.arange(0, COUNT, 2)], RESOLUTION, LAW))) == 1
        with pytest.raises(IndexError, match="sample 3 is not resident here"):
            list(loader.batches([np.array([2, 3])], RESOLUTION, LAW))


def test_corrupt_samples_end_the_copy_or_are_left_out(own: Stored) -> None:
    beton = own("yuv420")
    for sample in (9, 4):
        overwrite(beton, sample, bytes(16))
    beton, ids = open_beton(beton.path), [np.arange(8), np.arange(8, 16)]
    words = r"sample 4 .*wrong checksum.*\(and 1 more in the file\)$"
    with Loader(beton, device=CPU, resident=held(beton)) as loader, pytest.raises(UserError, match=words):
        loader.fill_resident()
    expected = load(beton, ids, decoder="packed", corrupt="skip")
    with Loader(beton, device=CPU, corrupt="skip", resident=held(beton)) as loader:
        for _ in range(2):
            assert_same(list(loader.batches(ids, RESOLUTION, LAW)), expected)
        assert loader.skips == 4 and len(loader.new_skips()) == 2
    # Not looked at, as usual.
    assert_same(
        load(beton, ids, verify="never", resident=held(beton)),
        load(beton, ids, decoder="packed", verify="never"),
    )


def test_record_of_the_wrong_size_is_never_read(stored: Stored) -> None:
    """Opening a file refuses one; a kernel would read on into the next record, or beyond the last."""
    beton = stored("yuv420")
    images = beton.images.copy()
    images["height"][5] *= 2
    beton = replace(beton, images=images)
    words = r"sample 5 .*its record is not of width x height x 3/2 bytes"
    with Loader(beton, device=CPU, resident=held(beton)) as loader, pytest.raises(UserError, match=words):
        loader.fill_resident()


def test_file_that_changed_since_it_was_opened_is_refused(own: Stored) -> None:
    beton = own("yuv420")
    with open(beton.path, "r+b") as file:
        file.truncate(beton.path.stat().st_size // 2)
    with pytest.raises(UserError, match="became shorter"):
        held(beton).fill(verify=True)
