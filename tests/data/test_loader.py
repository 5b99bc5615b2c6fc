"""Batches are the same whatever the threads do, errors reach the consumer, and nothing is left behind."""

import gc
import os
import subprocess
import sys
import tarfile
import threading
import weakref
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from engine.config.schema import OutputConfig, SourceConfig, WriteConfig
from engine.data import loader as loader_module
from engine.data.beton import Beton, open_beton
from engine.data.convert import convert
from engine.data.crops import CenterCrop, CropLaw, RandomResizedCrop
from engine.data.decoders.pool import DecodePool
from engine.data.decoders.rgb_image import decode_slice
from engine.data.loader import Batch, Loader
from engine.data.order import train_batches, validation_batches
from engine.data.read_ahead import ReadAhead
from engine.errors import UserError
from tests.data.betons import overwrite, write_pixels
from tests.data.conftest import photo
from tests.shapes import TRAIN, write_betons

CPU = torch.device("cpu")
WATCHDOG_SECONDS = 60
LAW = RandomResizedCrop(seed=3, epoch=1)
RESOLUTION = 32


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    """The training file of tests/shapes.py: 96 pictures, JPEG and raw mixed."""
    return open_beton(write_betons(tmp_path_factory.mktemp("shapes"))[0])


@pytest.fixture
def damaged(tmp_path: Path) -> Beton:
    """16 JPEGs in a file of this test's own; sample 9 is no JPEG any more."""
    beton = open_beton(write_pixels(tmp_path, [photo(40, 40, seed) for seed in range(16)], "jpeg"))
    overwrite(beton, 9, bytes(16))
    return beton


def ids_of(beton: Beton, batch: int = 16) -> list[NDArray[np.int64]]:
    """An epoch's batches of one rank."""
    ids = train_batches(
        beton.num_samples, seed=3, epoch=1, global_batch=batch, accumulation=1, rank=0, world=1
    )
    return list(ids[:, 0])


def load(
    beton: Beton,
    ids: list[NDArray[np.int64]] | None = None,
    resolution: int = RESOLUTION,
    law: CropLaw = LAW,
    **settings: Any,
) -> list[Batch]:
    """All batches of one iteration of a loader of its own."""
    with Loader(beton, device=CPU, **settings) as loader:
        return list(loader.batches(ids_of(beton) if ids is None else ids, resolution, law))


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    """Equal to the bit."""
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.ids, other.ids)


def guarded(work: Callable[[], None]) -> None:
    """Run `work` in a thread and fail when it hangs, since a test that waits for ever tells nothing."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(WATCHDOG_SECONDS)
    if thread.is_alive():
        pytest.fail(f"still waiting after {WATCHDOG_SECONDS} s")
    if errors:
        raise errors[0]


def threads() -> list[str]:
    """The names of the loaders' threads that run now."""
    names = (thread.name for thread in threading.enumerate())
    return sorted(name for name in names if name.startswith(("producer", "decode", "read-ahead")))


class Broken:
    """A crop law that raises on its third batch."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.calls = error, 0

    def boxes(self, ids: NDArray[np.int64], heights: NDArray[Any], widths: NDArray[Any]) -> NDArray[np.int32]:
        """Boxes, twice."""
        self.calls += 1
        if self.calls > 2:
            raise self.error
        return LAW.boxes(ids, heights, widths)


# The same batches


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("ahead", [0, 1, 5, 20])
def test_workers_and_batches_ahead_do_not_show(beton: Beton, workers: int, ahead: int) -> None:
    assert_same(load(beton), load(beton, workers=workers, batches_ahead=ahead, in_memory=False))


def test_a_sample_does_not_depend_on_the_batch_it_comes_in(beton: Beton) -> None:
    whole = load(beton, [np.arange(TRAIN)])[0]
    for batch in load(beton, ids_of(beton, 7), workers=2):
        assert torch.equal(batch.images, whole.images[torch.from_numpy(batch.ids)])


def test_the_second_iteration_is_like_the_first_also_after_an_early_break(beton: Beton) -> None:
    expected = load(beton)
    with Loader(beton, device=CPU, workers=2) as loader:
        for taken, batch in enumerate(loader.batches(ids_of(beton), RESOLUTION, LAW)):
            assert torch.equal(batch.images, expected[taken].images)
            if taken == 2:
                break
        for _ in range(2):
            assert_same(list(loader.batches(ids_of(beton), RESOLUTION, LAW)), expected)


def test_resolution_batch_size_and_law_may_change_and_nothing_is_compiled_anew(beton: Beton) -> None:
    with Loader(beton, device=CPU, workers=2) as loader:
        list(loader.batches(ids_of(beton), RESOLUTION, LAW))
        known = len(decode_slice.signatures)
        for resolution, size, law in ((48, 8, LAW), (16, 96, CenterCrop(ratio=0.875)), (64, 31, LAW)):
            ids = validation_batches(TRAIN, batch=size, rank=0, world=1)
            found = list(loader.batches(ids, resolution, law))
            assert found[0].images.shape == (size, 3, resolution, resolution)
            assert_same(found, load(beton, ids, resolution, law))
        assert len(decode_slice.signatures) == known


def test_batches_stay_as_they_are_while_later_ones_are_made(beton: Beton) -> None:
    with Loader(beton, device=CPU, workers=2, batches_ahead=1) as loader:
        kept, copies = [], []
        for batch in loader.batches(ids_of(beton, 4), RESOLUTION, LAW):
            kept.append(batch)
            copies.append(Batch(batch.images.clone(), batch.labels.clone(), batch.ids.copy()))
    assert_same(kept, copies)


def test_the_last_batch_may_be_smaller_and_there_may_be_none(beton: Beton) -> None:
    sizes = [len(batch.ids) for batch in load(beton, validation_batches(TRAIN, batch=40, rank=0, world=1))]
    assert sizes == [40, 40, 16]
    assert load(beton, []) == []
    assert load(beton, [np.empty(0, np.int64)])[0].images.shape == (0, 3, RESOLUTION, RESOLUTION)


# What a batch holds


def test_labels_and_ids_are_the_samples(beton: Beton) -> None:
    ids = ids_of(beton)
    for batch, expected in zip(load(beton), ids, strict=True):
        np.testing.assert_array_equal(batch.ids, expected)
        assert batch.labels.dtype == torch.int64
        np.testing.assert_array_equal(batch.labels.numpy(), beton.labels[expected])


def _pixels(beton: Beton, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    pool, out = DecodePool(beton, 1), np.empty((len(ids), RESOLUTION, RESOLUTION, 3), np.uint8)
    pool.decode(ids, LAW, out)
    pool.close()
    return out


def test_images_are_normalised_as_torchvision_does(beton: Beton) -> None:
    ids = np.arange(16)
    (batch,) = load(beton, [ids])
    normalise = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    for ours, pixels in zip(batch.images, _pixels(beton, ids), strict=True):
        torch.testing.assert_close(
            ours, normalise(transforms.functional.to_tensor(pixels)), rtol=0, atol=2e-6, check_stride=False
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_short_type_is_rounded_to_once_at_the_end(beton: Beton, dtype: torch.dtype) -> None:
    for short, exact in zip(load(beton, dtype=dtype), load(beton), strict=True):
        assert short.images.dtype == dtype
        assert short.images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(short.images, exact.images.to(dtype))


def test_memory_order_is_as_asked(beton: Beton) -> None:
    (last,), (first,) = (load(beton, [np.arange(8)], channels_last=choice) for choice in (True, False))
    assert last.images.stride() == (3 * RESOLUTION**2, 1, 3 * RESOLUTION, 3)
    assert first.images.stride() == (3 * RESOLUTION**2, RESOLUTION**2, RESOLUTION, 1)
    assert torch.equal(last.images, first.images)


def test_time_spent_waiting_adds_up(beton: Beton) -> None:
    with Loader(beton, device=CPU) as loader:
        seen = [loader.wait_seconds]
        for _ in range(2):
            for _batch in loader.batches(ids_of(beton), RESOLUTION, LAW):
                seen.append(loader.wait_seconds)
    assert seen[0] == 0.0 and all(one < other for one, other in pairwise(seen))


def test_the_file_is_read_ahead_only_when_asked(beton: Beton, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Path] = []

    class Recorder(ReadAhead):
        def __init__(self, path: Path) -> None:
            begun.append(path)
            super().__init__(path)

    monkeypatch.setattr(loader_module, "ReadAhead", Recorder)
    load(beton, [], in_memory=False)
    assert begun == []
    load(beton, [], in_memory=True)
    assert begun == [beton.path]


# Errors


def test_a_corrupt_sample_ends_the_iteration_at_its_batch_with_its_name(damaged: Beton) -> None:
    ids = [np.arange(start, start + 4) for start in range(0, 16, 4)]

    def work() -> None:
        with Loader(damaged, device=CPU, workers=2) as loader:
            batches = loader.batches(ids, RESOLUTION, LAW)
            assert [next(batches).ids[0] for _ in range(2)] == [0, 4]
            with pytest.raises(UserError, match=r"train\.beton: sample 9 .*Not a JPEG file"):
                next(batches)
            assert list(batches) == [], "the iteration is over"
            good = [ids[0], ids[1], ids[3]]
            assert_same(list(loader.batches(good, RESOLUTION, LAW)), load(damaged, good))

    guarded(work)
    assert threads() == []


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (ZeroDivisionError("oops"), ZeroDivisionError),
        (StopIteration(), RuntimeError),
        (SystemExit(3), SystemExit),
    ],
)
def test_whatever_goes_wrong_while_loading_reaches_the_consumer(
    beton: Beton, error: BaseException, seen: type[BaseException]
) -> None:
    def work() -> None:
        taken = 0
        with Loader(beton, device=CPU, workers=2) as loader, pytest.raises(seen):
            for _ in loader.batches(ids_of(beton), RESOLUTION, cast(CropLaw, Broken(error))):
                taken += 1
        assert taken == 2

    guarded(work)
    assert threads() == []


def test_memory_that_cannot_be_had_reaches_the_consumer(
    beton: Beton, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*size: object, **how: object) -> None:
        raise MemoryError

    def work() -> None:
        with Loader(beton, device=CPU) as loader:
            monkeypatch.setattr(torch, "empty", refuse)
            with pytest.raises(MemoryError):
                next(loader.batches(ids_of(beton), RESOLUTION, LAW))

    guarded(work)


def test_an_id_out_of_range_reaches_the_consumer(beton: Beton) -> None:
    with pytest.raises(IndexError, match=f"samples 0 to {TRAIN - 1}"):
        load(beton, [np.array([0, TRAIN])])


def test_a_loader_without_a_slot_is_refused_rather_than_waited_for(beton: Beton) -> None:
    with pytest.raises(ValueError, match="batches_ahead -1"):
        Loader(beton, device=CPU, batches_ahead=-1)
    assert threads() == []


# One iteration at a time


def test_a_second_iteration_beside_an_open_one_is_refused_and_spoils_nothing(beton: Beton) -> None:
    expected = load(beton)
    with Loader(beton, device=CPU, workers=2) as loader:
        first = loader.batches(ids_of(beton), RESOLUTION, LAW)
        taken = [next(first)]
        with pytest.raises(RuntimeError, match="still open"):
            next(loader.batches(ids_of(beton), 64, LAW))
        taken.extend(first)
        assert_same(taken, expected)
        assert_same(list(loader.batches(ids_of(beton), RESOLUTION, LAW)), expected)


def test_a_dropped_iterator_ends_its_producer(beton: Beton) -> None:
    with Loader(beton, device=CPU, in_memory=False) as loader:
        batches = loader.batches(ids_of(beton), RESOLUTION, LAW)
        next(batches)
        assert "producer" in threads()
        del batches
        gc.collect()
        assert "producer" not in threads()
        assert len(list(loader.batches(ids_of(beton), RESOLUTION, LAW))) == len(ids_of(beton))


def test_an_iterator_that_was_never_started_holds_nothing(beton: Beton) -> None:
    with Loader(beton, device=CPU, in_memory=False) as loader:
        unused = loader.batches(ids_of(beton), RESOLUTION, LAW)
        assert threads() == []
        assert len(list(loader.batches(ids_of(beton), RESOLUTION, LAW))) == len(ids_of(beton))
        del unused


def test_an_error_of_the_consumer_ends_the_producer(beton: Beton) -> None:
    with Loader(beton, device=CPU, in_memory=False) as loader:
        with pytest.raises(KeyError):
            for _ in loader.batches(ids_of(beton), RESOLUTION, LAW):
                raise KeyError
        gc.collect()
        assert "producer" not in threads()
        next(iter(loader.batches(ids_of(beton), RESOLUTION, LAW)))


def test_closing_amid_an_iteration_ends_all_threads_and_the_consumer_is_told(beton: Beton) -> None:
    def work() -> None:
        loader = Loader(beton, device=CPU, workers=2, batches_ahead=1)
        batches = loader.batches(ids_of(beton, 4), RESOLUTION, LAW)
        next(batches)
        loader.close()
        assert threads() == []
        with pytest.raises(RuntimeError, match="closed amid an iteration"):
            list(batches)
        with pytest.raises(RuntimeError, match="the loader is closed"):
            next(loader.batches(ids_of(beton), RESOLUTION, LAW))
        loader.close()

    guarded(work)


# Nothing is left behind


def test_many_early_breaks_leave_threads_descriptors_and_memory_flat(beton: Beton) -> None:
    process, figures = psutil.Process(), []
    with Loader(beton, device=CPU, workers=2, batches_ahead=2) as loader:
        for number in range(90):
            for batch in loader.batches(ids_of(beton, 32), 96, LAW):
                del batch
                break
            # The first third warms allocators and thread stacks up.
            if number in (29, 89):
                gc.collect()
                figures.append((threading.active_count(), process.num_fds(), process.memory_info().rss))
    (threads_before, files_before, memory_before), (threads_after, files_after, memory_after) = figures
    assert (threads_after, files_after) == (threads_before, files_before)
    # One leaked set of slots would be 2.5 MB, 60 of them 150 MB.
    assert memory_after - memory_before < 15 * 2**20


def test_closed_loaders_leave_nothing(beton: Beton) -> None:
    load(beton)
    gc.collect()
    before = threads(), len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        load(beton, workers=3)
        with pytest.raises(ZeroDivisionError):
            load(beton, law=cast(CropLaw, Broken(ZeroDivisionError())))
    loader = Loader(beton, device=CPU)
    loader.close()
    dead = weakref.ref(loader)
    del loader
    gc.collect()
    assert dead() is None
    assert (threads(), len(os.listdir("/proc/self/fd"))) == before


# Real data and the stock loader


def _as_levels(images: torch.Tensor) -> NDArray[np.uint8]:
    """Normalised NCHW images as the uint8 NHWC pixels that they were."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (loader_module.MEAN, loader_module.STD))
    levels = (images * std + mean).permute(0, 2, 3, 1)
    assert (levels - levels.round()).abs().max() < 1e-3
    return levels.round().to(torch.uint8).numpy()


@pytest.fixture(scope="module")
def cifar(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first images of each class of CIFAR-10: 12 to train on, 3 to validate on."""
    archive = shared_data / "cifar10-jpeg.tgz"
    if not archive.is_file():
        pytest.skip(f"no CIFAR-10 here: {archive} does not exist")
    root = tmp_path_factory.mktemp("cifar")
    left: dict[str, int] = {}
    with tarfile.open(archive, "r|gz") as tar:
        for member in tar:
            folder = str(Path(member.name).parent)
            if not member.isfile() or left.setdefault(folder, 12 if folder.startswith("train") else 3) == 0:
                continue
            left[folder] -= 1
            content = tar.extractfile(member)
            assert content is not None
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / member.name).write_bytes(content.read())
    return root


@pytest.mark.slow
def test_cifar_10_arrives_as_it_lies_in_its_folders(cifar: Path, tmp_path: Path) -> None:
    source = SourceConfig(path=str(cifar), val_folder="test")
    output = OutputConfig(folder=str(tmp_path), format="raw", num_workers=1, page_size=2)
    paths = convert(WriteConfig(source=source, output=output))
    train, val = open_beton(paths["train"]), open_beton(paths["val"])
    assert (train.num_samples, val.num_samples) == (120, 30)
    for beton, folder in ((train, "train"), (val, "test")):
        assert beton.manifest is not None
        ids = validation_batches(beton.num_samples, batch=50, rank=0, world=1)
        for batch in load(beton, ids, resolution=32, law=CenterCrop(ratio=1.0), workers=2):
            names = [beton.manifest.ids[sample] for sample in batch.ids]
            expected = [np.asarray(Image.open(cifar / folder / name).convert("RGB")) for name in names]
            np.testing.assert_array_equal(_as_levels(batch.images), np.stack(expected))
            classes = [beton.manifest.classes[label] for label in batch.labels.tolist()]
            assert classes == [name.split("/")[0] for name in names]


# Without any code of ours: loads a file with stock ffcv's own Loader and keeps what it gives.
_STOCK = """
import sys
import numpy as np
from ffcv.fields.basics import IntDecoder
from ffcv.fields.rgb_image import CenterCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption

pipelines = {"image": [CenterCropRGBImageDecoder((48, 48), 224 / 256)], "label": [IntDecoder()]}
loader = Loader(
    sys.argv[1], batch_size=5, num_workers=1, os_cache=True, order=OrderOption.SEQUENTIAL,
    pipelines=pipelines, drop_last=False,
)
batches = [(images.copy(), labels.copy()) for images, labels in loader]
images, labels = (np.concatenate(parts) for parts in zip(*batches))
np.savez(sys.argv[2], images=images, labels=labels[:, 0])
"""


@pytest.mark.slow
def test_stock_ffcvs_loader_gives_the_same_pixels(tmp_path: Path) -> None:
    # Of sides that 7/8 divides: elsewhere ffcv rounds the crop's side down, and we to the nearest.
    sizes = [(64, 64), (64, 96), (96, 64), (40, 128), (160, 136), (56, 48), (200, 320)]
    pictures = [photo(*size, seed=number) for number, size in enumerate(sizes * 2)]
    path = write_pixels(tmp_path, pictures, "raw")
    done = subprocess.run(
        [sys.executable, "-c", _STOCK, str(path), str(tmp_path / "stock.npz")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stock = np.load(tmp_path / "stock.npz")
    ids = validation_batches(len(pictures), batch=5, rank=0, world=1)
    ours = load(open_beton(path), ids, resolution=48, law=CenterCrop(ratio=224 / 256))
    np.testing.assert_array_equal(
        np.concatenate([_as_levels(batch.images) for batch in ours]), stock["images"]
    )
    np.testing.assert_array_equal(torch.cat([batch.labels for batch in ours]).numpy(), stock["labels"])


# On a GPU


@pytest.mark.gpu
def test_a_gpu_gets_the_same_batches_also_when_it_is_far_behind(beton: Beton) -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    ids = ids_of(beton, 8) * 4
    expected = load(beton, ids, 96)
    with Loader(beton, device=device, workers=4, batches_ahead=1) as loader:
        kept = []
        for batch in loader.batches(ids, 96, LAW):
            # The device is kept busy, so that copies and slots queue up behind it.
            torch.cuda._sleep(20_000_000)
            kept.append((batch.images * 1, batch.labels + 0, batch.ids))
            assert batch.images.device == device and batch.labels.device == device
            assert batch.images.is_contiguous(memory_format=torch.channels_last)
            del batch
    torch.cuda.synchronize()
    for (images, labels, drawn), wanted in zip(kept, expected, strict=True):
        torch.testing.assert_close(images.cpu(), wanted.images, rtol=0, atol=1e-6)
        assert torch.equal(labels.cpu(), wanted.labels)
        np.testing.assert_array_equal(drawn, wanted.ids)


@pytest.mark.gpu
def test_a_gpu_is_fed_from_pinned_memory_that_is_used_again(beton: Beton) -> None:
    with Loader(beton, device=torch.device("cuda"), workers=2, batches_ahead=2) as loader:
        list(loader.batches(ids_of(beton), 64, LAW))
        slots = loader._slots
        addresses = [slot.storage.data_ptr() for slot in slots]
        assert len(slots) == 3 and all(slot.storage.is_pinned() and slot.labels.is_pinned() for slot in slots)
        for resolution in (64, 32):
            list(loader.batches(ids_of(beton), resolution, LAW))
            assert [slot.storage.data_ptr() for slot in slots] == addresses


@pytest.mark.gpu
def test_a_slow_consumer_gets_intact_batches_from_slots_in_use(beton: Beton) -> None:
    ids = ids_of(beton, 8) * 3
    expected = load(beton, ids, 128, dtype=torch.bfloat16)
    device = torch.device("cuda")
    with Loader(beton, device=device, dtype=torch.bfloat16, workers=4, batches_ahead=0) as loader:
        # One slot only: it is filled again as soon as its copy is done, whatever the consumer still does.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for batch, wanted in zip(loader.batches(ids, 128, LAW), expected, strict=True):
                torch.cuda._sleep(5_000_000)
                late = batch.images.float()
                torch.testing.assert_close(late.cpu(), wanted.images.float(), rtol=0, atol=2**-6)
                assert torch.equal(batch.labels.cpu(), wanted.labels)


@pytest.mark.gpu
def test_an_error_beside_a_gpu_reaches_the_consumer_too(damaged: Beton) -> None:
    def work() -> None:
        with Loader(damaged, device=torch.device("cuda"), workers=2) as loader:
            batches = loader.batches([np.arange(8), np.arange(8, 16)], RESOLUTION, LAW)
            next(batches)
            with pytest.raises(UserError, match="sample 9 "):
                next(batches)

    guarded(work)
    assert threads() == []
