"""A file judged by a network with random weights: the figures of its images, and which outputs its labels are."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.data.beton.reader import Beton, open_beton
from engine.data.loading.decode_pool import DecodePool
from engine.data.sampling.crops import CenterCrop
from engine.errors import UserError
from engine.predict.mistakes.judged import judge
from engine.predict.mistakes.outputs import NONE, outputs_of
from engine.predict.preprocess import Preprocessor
from engine.predict.trained import Trained, load_trained
from tests.predict.conftest import card, save_run
from tests.shapes import write_betons

CLASSES = ["amber", "blue", "coral", "denim", "ecru", "fawn"]
WEIGHTS = Path("run/model.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """val.beton of 31 images, and a run of its six classes, at 32 px."""
    folder = tmp_path_factory.mktemp("judged")
    write_betons(folder, train=6, val=31)
    save_run(folder / "run", card(CLASSES))
    return folder


@pytest.fixture(scope="module")
def val(folder: Path) -> Beton:
    return open_beton(folder / "val.beton")


@pytest.fixture(scope="module")
def trained(folder: Path) -> Trained:
    return load_trained(folder / "run", device="cpu")


@pytest.mark.parametrize("levels", [None, ([0.5, 0.5, 0.4], [0.5, 0.25, 0.5])])
def test_figures_equal_those_of_each_image_alone(
    trained: Trained, val: Beton, levels: tuple[list[float], list[float]] | None
) -> None:
    if levels:
        asked = replace(trained.card.preprocessing, mean=levels[0], std=levels[1])
        trained = replace(trained, card=replace(trained.card, preprocessing=asked))
    found = judge(trained, val, np.arange(6), batch_size=8)
    pixels = np.empty((31, 32, 32, 3), np.uint8)
    pool = DecodePool(val, 1)
    assert pool.decode(np.arange(31), CenterCrop(ratio=0.875), pixels) == []
    pool.close()
    with torch.inference_mode():
        logits = trained.model(Preprocessor(trained.card.preprocessing).normalise(pixels)).double()
    expected = logits.softmax(1).numpy()
    assert found.samples.tolist() == list(range(31))
    assert found.outcomes.labels.tolist() == val.labels.tolist()
    # bf16, where this machine's processor has it
    np.testing.assert_allclose(found.outcomes.losses, -np.log(expected[range(31), val.labels]), atol=0.02)
    np.testing.assert_allclose(np.take_along_axis(expected, found.top, 1), found.shares, atol=0.02)
    assert found.top.shape == (31, 5)
    assert found.top1 == pytest.approx((found.top[:, 0] == val.labels).mean())


def test_labels_are_taken_as_the_outputs_they_stand_for(trained: Trained, val: Beton) -> None:
    turned = np.array([5, 4, 3, 2, 1, 0])
    assert judge(trained, val, turned).outcomes.labels.tolist() == turned[val.labels].tolist()


def test_damaged_image_is_left_out_and_named(trained: Trained, val: Beton, tmp_path: Path) -> None:
    path = tmp_path / "val.beton"
    shutil.copyfile(val.path, path)
    with open(path, "r+b") as file:
        file.seek(int(val.images["data_ptr"][4]) + 100)
        file.write(bytes(40))
    found = judge(trained, open_beton(path), np.arange(6), batch_size=8)
    assert found.samples.tolist() == [sample for sample in range(31) if sample != 4]
    assert len(found.left_out) == 1 and "sample 4" in found.left_out[0]


@pytest.mark.parametrize(
    ("classes", "meaning", "note"),
    [
        (CLASSES, [0, 1, 2, 3, 4, 5], None),
        (CLASSES[::-1], [5, 4, 3, 2, 1, 0], "in another order: they are taken by name"),
        (["aloe", *CLASSES], [1, 2, 3, 4, 5, 6], "has images of 6 of the network's 7 classes"),
        (None, [0, 1, 2, 3, 4, 5], "run/model.safetensors does not name its classes: output number N is"),
    ],
)
def test_labels_find_their_outputs_by_name(
    val: Beton, classes: list[str] | None, meaning: list[int], note: str | None
) -> None:
    of = card(CLASSES if classes is None else classes)
    found, notes = outputs_of(replace(of, classes=classes), val, WEIGHTS, by_number=False)
    assert found.tolist() == meaning
    assert len(notes) == (note is not None) and all(note in said for said in notes)  # type: ignore[operator]


def test_unknown_class_is_refused_unless_by_number(val: Beton) -> None:
    other = card(["amber", "blue", "coral", "denim", "ecru", "fir"])
    with pytest.raises(UserError, match=r"has images of 'fawn', which .* does not know: .*--by-number"):
        outputs_of(other, val, WEIGHTS, by_number=False)
    found, notes = outputs_of(other, val, WEIGHTS, by_number=True)
    assert found.tolist() == [0, 1, 2, 3, 4, 5] and notes == []


def test_class_without_images_need_not_be_known(val: Beton) -> None:
    kept = np.flatnonzero(val.labels < 5)
    part = replace(
        val, labels=val.labels[kept], images=val.images[kept], sizes=val.sizes[kept], num_samples=len(kept)
    )
    found, _ = outputs_of(card(CLASSES[:5]), part, WEIGHTS, by_number=False)
    assert found.tolist() == [0, 1, 2, 3, 4, NONE]


def test_more_labels_than_outputs_are_refused_by_number(val: Beton) -> None:
    with pytest.raises(UserError, match=r"has labels up to 5, and .* only 3 outputs"):
        outputs_of(card(CLASSES[:3]), val, WEIGHTS, by_number=True)
