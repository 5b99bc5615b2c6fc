"""A sample that can't be used ends the iteration with its name, or is left out, named and counted; never delivered."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from engine.data.beton.reader import Beton, Storage, open_beton
from engine.data.loading.loader import Batch, Loader
from engine.errors import UserError
from tests.data.betons import drop_checksums, overwrite, record
from tests.data.loaders import CPU, LAW, RESOLUTION, WAYS, assert_same, guarded, load, threads

Own = Callable[[Storage], Beton]

# 16 samples, in an order that is not the file's, 4 a batch; the damaged ones are in the second and the third.
ORDER = np.random.default_rng(5).permutation(16).reshape(4, 4)
IDS = list(ORDER)
BAD = (int(ORDER[1, 2]), int(ORDER[2, 0]), int(ORDER[2, 3]))


@pytest.fixture(params=[*WAYS, "jpeg without checksums"])
def damaged(request: pytest.FixtureRequest, own: Own) -> tuple[list[Batch], Beton, str]:
    """What the intact file gives; the file, opened anew after the samples BAD were damaged; data.decoder."""
    storage, decoder = WAYS[request.param.split(" ")[0]]
    beton = own(storage)
    if "without" in request.param:
        drop_checksums(beton.path)
    expected = load(beton, IDS, decoder=decoder)
    for sample in BAD:
        if "without" in request.param:
            overwrite(beton, sample, bytes(16))
        else:
            _flip_a_byte(beton, sample)
    return expected, open_beton(beton.path), decoder


def _flip_a_byte(beton: Beton, sample: int) -> None:
    data = record(beton, sample)
    overwrite(beton, sample, bytes([data[len(data) // 2] ^ 1]), offset=len(data) // 2)


def test_stop_ends_at_the_first_bad_batch_with_one_line(
    damaged: tuple[list[Batch], Beton, str],
) -> None:
    expected, beton, decoder = damaged

    def work() -> None:
        with Loader(beton, device=CPU, workers=2, decoder=decoder) as loader:
            batches = loader.batches(IDS, RESOLUTION, LAW)
            assert_same([next(batches)], expected[:1])
            with pytest.raises(UserError) as caught:
                next(batches)
            line = str(caught.value)
            assert beton.manifest is not None
            assert f"{beton.path}: sample {BAD[0]} ({beton.manifest.ids[BAD[0]]}) can't be used: " in line
            reason = (
                "wrong checksum" if beton.checksums is not None else "JPEG data is damaged (Not a JPEG file"
            )
            assert reason in line and "--data.corrupt=skip" in line and "\n" not in line
            assert list(batches) == [], "the iteration is over"
            good = [IDS[0], IDS[3]]
            assert_same(list(loader.batches(good, RESOLUTION, LAW)), [expected[0], expected[3]])
            with pytest.raises(UserError, match=rf"sample {BAD[1]} .*\(and 1 more in its batch\)"):
                list(loader.batches(IDS[2:], RESOLUTION, LAW))
            assert (loader.skips, loader.new_skips()) == (0, [])

    guarded(work)
    assert threads() == []


def test_skip_leaves_out_bad_samples_and_keeps_the_others(
    damaged: tuple[list[Batch], Beton, str],
) -> None:
    expected, beton, decoder = damaged

    def work() -> None:
        with Loader(beton, device=CPU, workers=2, decoder=decoder, corrupt="skip") as loader:
            for _ in range(2):
                for batch, wanted in zip(loader.batches(IDS, RESOLUTION, LAW), expected, strict=True):
                    kept = torch.from_numpy(~np.isin(wanted.ids, BAD))
                    assert torch.equal(batch.images, wanted.images[kept])
                    assert torch.equal(batch.labels, wanted.labels[kept])
                    np.testing.assert_array_equal(batch.ids, wanted.ids[kept.numpy()])
            assert loader.skips == 2 * len(BAD), "each time is counted"
            lines = loader.new_skips()
            assert len(lines) == len(BAD), "but told once"
            for sample, line in zip(BAD, lines, strict=True):
                assert f"sample {sample} (" in line and "\n" not in line
            assert loader.new_skips() == []

    guarded(work)


def test_batch_of_only_bad_samples_is_an_error(
    damaged: tuple[list[Batch], Beton, str],
) -> None:
    _, beton, decoder = damaged
    with (
        Loader(beton, device=CPU, decoder=decoder, corrupt="skip") as loader,
        pytest.raises(UserError, match=r"no sample of its batch of 3 can be used"),
    ):
        list(loader.batches([np.array(BAD)], RESOLUTION, LAW))


# When checksums are compared


def _epochs(beton: Beton, verify: str, decoder: str) -> list[str]:
    """What two iterations of one loader say, one byte being flipped before the first and one between them."""
    said = []
    with Loader(beton, device=CPU, decoder=decoder, verify=verify, corrupt="skip") as loader:
        for sample in (3, 11):
            _flip_a_byte(beton, sample)
            list(loader.batches(IDS, RESOLUTION, LAW))
            said += [line.split(" (")[0].rpartition(" ")[2] for line in loader.new_skips()]
    return said


@pytest.mark.parametrize(
    ("verify", "found"), [("always", ["3", "11"]), ("first-epoch", ["3"]), ("never", [])]
)
@pytest.mark.parametrize(("storage", "decoder"), [("raw", "cpu"), ("yuv420", "packed")])
def test_verify_decides_when_checksums_are_compared(
    own: Own, storage: Storage, decoder: str, verify: str, found: list[str]
) -> None:
    assert _epochs(own(storage), verify, decoder) == found


def test_file_without_checksums_is_used(own: Own) -> None:
    beton = own("yuv420")
    drop_checksums(beton.path)
    assert _epochs(open_beton(beton.path), "always", "cpu") == []


def test_no_pixel_of_a_bad_sample_is_delivered(own: Own) -> None:
    # The fault of ffcv's: a destroyed header gives the previous image's pixels under this label.
    beton = own("jpeg")
    drop_checksums(beton.path)
    overwrite(beton, 9, bytes(16))
    beton = open_beton(beton.path)
    ids = [np.array([8, 7]), np.array([9, 10]), np.array([8, 9])]
    with Loader(beton, device=CPU, batches_ahead=0, corrupt="skip") as loader:
        found = list(loader.batches(ids, RESOLUTION, LAW))
    assert [batch.ids.tolist() for batch in found] == [[8, 7], [10], [8]]
    assert all(not torch.equal(one.images[0], other.images[0]) for one, other in pairwise(found))
