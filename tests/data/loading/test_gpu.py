"""On a GPU: the same batches, however far it is behind, from pinned memory that is used again."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from engine.data.beton.reader import Beton, Storage, open_beton
from engine.data.gpu.resize import resizer_name
from engine.data.loading.loader import STD, Batch, Loader
from engine.errors import UserError
from tests.data.betons import overwrite
from tests.data.loaders import LAW, RESOLUTION, guarded, ids_of, load, threads
from tests.train.step.test_no_waiting import synchronising_forbidden

pytestmark = pytest.mark.gpu

Way = tuple[Beton, str]


def _assert_close(found: list[Batch], expected: list[Batch]) -> None:
    """Within a level, which packed images may differ by."""
    level = 1.001 / torch.tensor(STD).view(1, 3, 1, 1)
    for batch, wanted in zip(found, expected, strict=True):
        assert ((batch.images.cpu().float() - wanted.images.float()).abs() <= level).all()
        assert torch.equal(batch.labels.cpu(), wanted.labels)
        np.testing.assert_array_equal(batch.ids, wanted.ids)


def test_slow_gpu_gets_the_same_batches(way: Way) -> None:
    beton, decoder = way
    device = torch.device("cuda", torch.cuda.current_device())
    ids = ids_of(beton, 8) * 4
    with Loader(beton, device=device, workers=4, batches_ahead=1, decoder=decoder) as loader:
        kept = []
        for batch in loader.batches(ids, 96, LAW):
            # The device is kept busy, so that copies and slots queue up behind it.
            torch.cuda._sleep(20_000_000)
            kept.append(Batch(batch.images * 1, batch.labels + 0, batch.ids))
            assert batch.images.device == device and batch.labels.device == device
            assert batch.images.is_contiguous(memory_format=torch.channels_last)
            del batch
    torch.cuda.synchronize()
    _assert_close(kept, load(beton, ids, 96, decoder="cpu"))


def test_gpu_batches_are_equal_for_any_thread_count(way: Way) -> None:
    beton, decoder = way
    batches = []
    for workers, ahead in ((1, 0), (2, 1), (4, 3)):
        settings = {"workers": workers, "batches_ahead": ahead, "decoder": decoder}
        with Loader(beton, device=torch.device("cuda"), **settings) as loader:  # type: ignore[arg-type]
            batches.append([batch.images.cpu() for batch in loader.batches(ids_of(beton), RESOLUTION, LAW)])
    for others in batches[1:]:
        assert all(torch.equal(one, other) for one, other in zip(batches[0], others, strict=True))


@pytest.mark.parametrize("way", ["raw", "yuv420", "jpeg"], indirect=True)
def test_auto_decoder_packs_packable_storages(way: Way) -> None:
    beton, _ = way
    device = torch.device("cuda")
    with Loader(beton, device=device) as loader:
        name, detail = loader.decoder
        _assert_close(list(loader.batches(ids_of(beton), 64, LAW)), load(beton, resolution=64))
    if beton.storage == "jpeg":
        assert name == "jpeg" and detail.startswith("decoded on the CPU")
    else:
        assert name == f"{beton.storage}-packed"
        assert detail == f"crops are packed on the CPU and finished on the GPU by {resizer_name(device)}"


@pytest.mark.parametrize("way", ["jpeg", "yuv420-packed"], indirect=True)
def test_gpu_copies_reuse_pinned_memory(way: Way) -> None:
    beton, decoder = way
    with Loader(beton, device=torch.device("cuda"), workers=2, batches_ahead=2, decoder=decoder) as loader:
        for _ in range(3):
            # Packed batches differ in size: by then each slot has held the largest.
            list(loader.batches(ids_of(beton) * 3, 64, LAW))
        slots = loader._slots
        addresses = [slot._storage.data_ptr() for slot in slots]
        assert len(slots) == 3
        for slot in slots:
            assert slot._storage.is_pinned() and slot.labels.is_pinned()
            assert slot.geometry is None or slot.geometry.is_pinned()
        for resolution in (64, 32):
            list(loader.batches(ids_of(beton), resolution, LAW))
            assert [slot._storage.data_ptr() for slot in slots] == addresses


def test_slow_consumer_gets_intact_batches(way: Way) -> None:
    beton, decoder = way
    ids = ids_of(beton, 8) * 3
    expected = load(beton, ids, 128, decoder="cpu")
    with Loader(
        beton, device=torch.device("cuda"), dtype=torch.float16, workers=4, batches_ahead=0, decoder=decoder
    ) as loader:
        # One slot only: it is filled again as soon as its copy is done, whatever the consumer still does.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            kept = []
            for batch in loader.batches(ids, 128, LAW):
                torch.cuda._sleep(5_000_000)
                # fp16 has steps of 2**-9 here, far below a level.
                kept.append(Batch(batch.images.float(), batch.labels + 0, batch.ids))
        torch.cuda.synchronize()
    levels = torch.tensor(STD).view(1, 3, 1, 1)
    for batch, wanted in zip(kept, expected, strict=True):
        assert ((batch.images.cpu() - wanted.images).abs() * levels).max() < 1.2
        assert torch.equal(batch.labels.cpu(), wanted.labels)


def test_gpu_loader_never_synchronises(way: Way) -> None:
    """Its waits are for events, in the producer's thread or where the device is batches behind."""
    beton, decoder = way
    device = torch.device("cuda", torch.cuda.current_device())
    if decoder == "packed" and resizer_name(device).startswith("plain"):
        pytest.skip("plain PyTorch waits once a batch for packed crops")
    with Loader(beton, device=device, workers=2, decoder=decoder) as loader:
        list(loader.batches(ids_of(beton), RESOLUTION, LAW))
        with synchronising_forbidden():
            list(loader.batches(ids_of(beton) * 2, RESOLUTION, LAW))


@pytest.mark.parametrize("storage", ["jpeg", "yuv420"])
def test_loading_error_with_a_gpu_reaches_the_consumer(
    own: Callable[[Storage], Beton], storage: Storage
) -> None:
    beton = own(storage)
    overwrite(beton, 9, bytes(16))

    def work() -> None:
        damaged = open_beton(beton.path)
        with Loader(damaged, device=torch.device("cuda"), workers=2) as loader:
            batches = loader.batches([np.arange(8), np.arange(8, 16)], RESOLUTION, LAW)
            next(batches)
            with pytest.raises(UserError, match="sample 9 "):
                next(batches)
        with Loader(damaged, device=torch.device("cuda"), workers=2, corrupt="skip") as loader:
            found = list(loader.batches([np.arange(8), np.arange(8, 16)], RESOLUTION, LAW))
            assert found[1].ids.tolist() == [8, *range(10, 16)]
            whole = load(damaged, [found[1].ids])
            _assert_close([found[1]], whole)

    guarded(work)
    assert threads() == []
