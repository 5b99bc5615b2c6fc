"""What a batch holds: the same whatever the threads do, the samples' own labels, torchvision's normalisation."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision import transforms

from engine.data.beton.reader import Arrival, Beton, Storage
from engine.data.loading import loader as loader_module
from engine.data.loading.decode_pool import DecodePool
from engine.data.loading.loader import Batch, Loader
from engine.data.loading.page_cache import ReadAhead
from engine.data.sampling.crops import CenterCrop
from engine.data.sampling.order import train_batches, validation_batches
from tests.data.loaders import COUNT, CPU, LAW, RESOLUTION, WAYS, assert_same, digest, ids_of, load

Way = tuple[Beton, str]
ROOT = Path(__file__).parents[3]


# The same batches


def test_batches_are_equal_for_any_threads_and_read_ahead(way: Way) -> None:
    beton, decoder = way
    expected = load(beton, decoder=decoder)
    for workers, ahead in ((1, 0), (2, 1), (4, 0), (4, 20)):
        found = load(beton, decoder=decoder, workers=workers, batches_ahead=ahead, in_memory=False)
        assert_same(found, expected)


# Prints a hash of an epoch's batches for each file and decoder it is given.
_ELSEWHERE = """
import json, sys
from engine.data.beton.reader import open_beton
from tests.data.loaders import digest, load

ways = json.loads(sys.argv[1])
print(json.dumps([digest(load(open_beton(path), decoder=decoder, workers=3)) for path, decoder in ways]))
"""


@pytest.mark.slow
def test_batches_are_equal_in_another_process(stored: Callable[[Storage], Beton]) -> None:
    ways = [(str(stored(storage).path), decoder) for storage, decoder in WAYS.values()]
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, json.dumps(ways)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    here = [digest(load(stored(storage), decoder=decoder)) for storage, decoder in WAYS.values()]
    assert json.loads(done.stdout) == here
    assert len(set(here)) >= 4, "each format has pixels of its own"


def test_sample_is_independent_of_its_batch(way: Way) -> None:
    beton, decoder = way
    whole = load(beton, [np.arange(COUNT)], decoder=decoder)[0]
    for batch in load(beton, ids_of(beton, 7), decoder=decoder, workers=2):
        assert torch.equal(batch.images, whole.images[torch.from_numpy(batch.ids)])


@pytest.mark.parametrize("way", ["jpeg", "yuv420", "yuv420-packed"], indirect=True)
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_ranks_together_give_each_sample_once_as_one_rank_does(way: Way, world: int) -> None:
    beton, decoder = way
    whole = load(beton, [np.arange(COUNT)], decoder=decoder)[0]
    drawn, validated = [], []
    for rank in range(world):
        training = train_batches(
            COUNT, seed=3, epoch=1, global_batch=24, accumulation=1, rank=rank, world=world
        )
        validation = validation_batches(COUNT, batch=5, rank=rank, world=world)
        with Loader(beton, device=CPU, decoder=decoder) as loader:
            drawn += list(loader.batches(training[:, 0], RESOLUTION, LAW))
            validated += list(loader.batches(validation, RESOLUTION, LAW))
    for batches in (drawn, validated):
        assert sorted(np.concatenate([batch.ids for batch in batches]).tolist()) == list(range(COUNT))
        for batch in batches:
            assert torch.equal(batch.images, whole.images[torch.from_numpy(batch.ids)])


def test_second_iteration_equals_the_first_even_after_a_break(way: Way) -> None:
    beton, decoder = way
    expected = load(beton, decoder=decoder)
    with Loader(beton, device=CPU, workers=2, decoder=decoder) as loader:
        for taken, batch in enumerate(loader.batches(ids_of(beton), RESOLUTION, LAW)):
            assert torch.equal(batch.images, expected[taken].images)
            if taken == 2:
                break
        for _ in range(2):
            assert_same(list(loader.batches(ids_of(beton), RESOLUTION, LAW)), expected)


def test_resolution_batch_and_crop_may_change_with_each_call(way: Way) -> None:
    beton, decoder = way
    with Loader(beton, device=CPU, workers=2, decoder=decoder) as loader:
        list(loader.batches(ids_of(beton), RESOLUTION, LAW))
        for resolution, size, law in ((48, 8, LAW), (16, COUNT, CenterCrop(ratio=0.875)), (64, 31, LAW)):
            ids = validation_batches(COUNT, batch=size, rank=0, world=1)
            found = list(loader.batches(ids, resolution, law))
            assert found[0].images.shape == (size, 3, resolution, resolution)
            assert_same(found, load(beton, ids, resolution, law, decoder=decoder))


def test_earlier_batches_stay_unchanged(way: Way) -> None:
    beton, decoder = way
    with Loader(beton, device=CPU, workers=2, batches_ahead=1, decoder=decoder) as loader:
        kept, copies = [], []
        for batch in loader.batches(ids_of(beton, 4), RESOLUTION, LAW):
            kept.append(batch)
            copies.append(Batch(batch.images.clone(), batch.labels.clone(), batch.ids.copy()))
    assert_same(kept, copies)


def test_smaller_last_batch_and_no_batches_are_allowed(way: Way) -> None:
    beton, decoder = way
    ids = validation_batches(COUNT, batch=20, rank=0, world=1)
    assert [len(batch.ids) for batch in load(beton, ids, decoder=decoder)] == [20, 20, 8]
    assert load(beton, [], decoder=decoder) == []
    (empty,) = load(beton, [np.empty(0, np.int64)], decoder=decoder)
    assert empty.images.shape == (0, 3, RESOLUTION, RESOLUTION)


# What a batch holds


def test_labels_and_ids_belong_to_the_samples(way: Way) -> None:
    beton, decoder = way
    ids = ids_of(beton)
    for batch, expected in zip(load(beton, decoder=decoder), ids, strict=True):
        np.testing.assert_array_equal(batch.ids, expected)
        assert batch.labels.dtype == torch.int64
        np.testing.assert_array_equal(batch.labels.numpy(), beton.labels[expected])


def _pixels(beton: Beton, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    pool, out = DecodePool(beton, 1), np.empty((len(ids), RESOLUTION, RESOLUTION, 3), np.uint8)
    assert pool.decode(ids, LAW, out) == []
    pool.close()
    return out


def test_images_are_normalised_like_torchvision(beton: Beton) -> None:
    ids = np.arange(16)
    (batch,) = load(beton, [ids])
    normalise = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    for ours, pixels in zip(batch.images, _pixels(beton, ids), strict=True):
        torch.testing.assert_close(
            ours, normalise(transforms.functional.to_tensor(pixels)), rtol=0, atol=2e-6, check_stride=False
        )


@pytest.mark.parametrize("way", ["jpeg", "yuv420", "yuv420-packed"], indirect=True)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once_at_the_end(way: Way, dtype: torch.dtype) -> None:
    beton, decoder = way
    shorts, exacts = (load(beton, decoder=decoder, dtype=choice) for choice in (dtype, torch.float32))
    for short, exact in zip(shorts, exacts, strict=True):
        assert short.images.dtype == dtype
        assert short.images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(short.images, exact.images.to(dtype))


def test_memory_order_follows_the_option(way: Way) -> None:
    beton, decoder = way
    (last,), (first,) = (
        load(beton, [np.arange(8)], channels_last=choice, decoder=decoder) for choice in (True, False)
    )
    assert last.images.stride() == (3 * RESOLUTION**2, 1, 3 * RESOLUTION, 3)
    assert first.images.stride() == (3 * RESOLUTION**2, RESOLUTION**2, RESOLUTION, 1)
    assert torch.equal(last.images, first.images)


def test_wait_seconds_add_up(beton: Beton) -> None:
    with Loader(beton, device=CPU) as loader:
        seen = [loader.wait_seconds]
        for _ in range(2):
            for _batch in loader.batches(ids_of(beton), RESOLUTION, LAW):
                seen.append(loader.wait_seconds)
    assert seen[0] == 0.0 and all(one < other for one, other in pairwise(seen))


def test_file_is_read_ahead_only_with_the_option(beton: Beton, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Path] = []

    class Recorder(ReadAhead):
        def __init__(self, path: Path, arrival: Arrival | None) -> None:
            begun.append(path)
            super().__init__(path, arrival)

    monkeypatch.setattr(loader_module, "ReadAhead", Recorder)
    load(beton, [], in_memory=False)
    assert begun == []
    load(beton, [], in_memory=True)
    assert begun == [beton.path]
