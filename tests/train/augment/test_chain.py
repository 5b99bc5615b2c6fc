"""Erasing, ColOut, MixUp and CutMix against their formulas."""

import numpy as np
import pytest
import torch

from engine.data.sampling.rng import sample_keys, uniforms
from engine.train.augment.augmentation import Draws
from engine.train.augment.chain import AUGMENTATIONS, Augment, loader_dtype
from engine.train.augment.colout import kept
from engine.train.augment.erasing import rectangles
from engine.train.augment.mixing import beta, cut_boxes, partners
from tests.data.splitmix import GOLDEN, mix, uniform
from tests.train.augment.augmented import CLASSES, augmented, batch, config


def test_batch_without_augmentation_passes_unchanged() -> None:
    given = batch(range(4))
    done = Augment(config(), CLASSES, torch.bfloat16)(given, 0)
    assert done.images is given.images and done.targets is given.labels
    assert loader_dtype(config(), torch.bfloat16) == torch.bfloat16
    assert loader_dtype(config(mixup_alpha=0.2), torch.bfloat16) == torch.float32


def test_draws_match_splitmix64() -> None:
    key = mix(mix(mix(7 + GOLDEN) + 4 * GOLDEN) ^ 99)
    ids = np.array([0, 5, 1_281_166])
    keys = sample_keys(ids, 7, 3, 99)
    assert keys.tolist() == [mix(key + (int(number) + 1) * GOLDEN) for number in ids]
    assert uniforms(keys, 3).tolist() == [[uniform(int(k), draw) for draw in range(3)] for k in keys]


def test_erased_rectangles_have_the_published_distribution() -> None:
    draws = Draws(seed=0, epoch=0, ids=np.arange(40_000))
    boxes = rectangles(draws, 0.25, 224, 224)
    top, left, height, width = boxes[boxes[:, 2] > 0].T
    assert len(top) / len(boxes) == pytest.approx(0.25, abs=0.01)
    assert (top + height <= 224).all() and (left + width <= 224).all()
    area, aspect = height * width / 224**2, height / width
    assert 0.018 < area.min() < 0.025 and 0.32 < area.max() < 0.345
    # Hardly any rectangle does not fit: area stays uniform, the aspect ratio's logarithm too, the place free.
    assert area.mean() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.006)
    assert np.log(aspect).mean() == pytest.approx(0, abs=0.03)
    assert 0.28 < aspect.min() < 0.33 and 3.0 < aspect.max() < 3.6
    assert (top / (224 - height)).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("fill", ["mean", "noise"])
def test_erasing_changes_only_its_rectangle(fill: str) -> None:
    ids = range(12)
    images, targets = augmented(ids, erasing_probability=0.5, erasing_fill=fill)
    before = batch(ids)
    boxes = rectangles(Draws(seed=0, epoch=0, ids=before.ids), 0.5, 24, 24)
    erased = []
    for image, was, (top, left, height, width) in zip(images, before.images, boxes, strict=True):
        inside = torch.zeros(24, 24, dtype=torch.bool)
        inside[top : top + height, left : left + width] = True
        assert torch.equal(image[:, ~inside], was[:, ~inside])
        erased.append(image[:, inside].flatten())
    values = torch.cat(erased)
    assert len(values) > 500 and torch.equal(targets, before.labels)
    expected = 0.0 if fill == "mean" else 1.0
    assert values.mean() == pytest.approx(0, abs=0.1) and values.std() == pytest.approx(expected, abs=0.1)


def test_colout_removes_the_drawn_rows_and_columns() -> None:
    ids = range(6)
    images, _ = augmented(ids, colout_rows=0.25, colout_columns=0.1)
    before, draws = batch(ids), Draws(seed=0, epoch=0, ids=np.arange(6))
    rows, columns = kept(draws, "rows", 24, 0.25), kept(draws, "columns", 24, 0.1)
    assert rows.shape == (6, 18) and columns.shape == (6, 21)
    assert (np.diff(rows) > 0).all() and (np.diff(columns) > 0).all()
    assert len({tuple(row) for row in rows}) == 6
    for image, was, row, column in zip(images, before.images, rows, columns, strict=True):
        assert torch.equal(image, was[:, row][:, :, column])


def test_mixup_matches_its_formula() -> None:
    images, targets = augmented(range(8), mixup_alpha=0.4)
    before = batch(range(8))
    share = beta(Draws(seed=0, epoch=0, ids=before.ids).uniform("mixing", 5)[:, 2], 0.4)
    one_hot = np.eye(CLASSES)[before.labels]
    for row in range(8):
        other, own = row ^ 1, float(share[row])
        expected = own * before.images[row] + (1 - own) * before.images[other]
        assert torch.allclose(images[row], expected, atol=1e-5)
        expected_target = own * one_hot[row] + (1 - own) * one_hot[other]
        assert targets[row].numpy() == pytest.approx(expected_target, abs=1e-6)


def test_cutmix_target_is_the_share_of_the_pasted_box() -> None:
    images, targets = augmented(range(40), cutmix_alpha=1.0)
    before, areas = batch(range(40)), []
    for row in range(40):
        own = (images[row] == before.images[row]).all(0)
        theirs = (images[row] == before.images[row ^ 1]).all(0)
        assert (own | theirs).all()
        taken = torch.nonzero(~own)
        if len(taken):
            extent = taken.amax(0) - taken.amin(0) + 1
            assert len(taken) == int(extent.prod()), "it is a box"
        areas.append(len(taken) / 24**2)
        assert targets[row, before.labels[row]].item() == pytest.approx(1 - areas[-1], abs=1e-6)
        assert targets[row].sum().item() == pytest.approx(1, abs=1e-6)
    assert 0.1 < np.mean(areas) < 0.6


def test_cut_boxes_have_their_area_before_clipping() -> None:
    boxes = cut_boxes(
        np.array([0.75, 0.75, 1.0, 0.0]), np.array([[0.5, 0.5], [0, 0], [0.5, 0.5], [0.5, 0.5]]), 40, 80
    )
    assert boxes.tolist() == [[10, 20, 20, 40], [0, 0, 10, 20], [20, 40, 0, 0], [0, 0, 40, 80]]


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixing_shares_have_beta_moments(alpha: float) -> None:
    drawn = beta((np.arange(20_000) + 0.5) / 20_000, alpha)
    assert drawn.mean() == pytest.approx(0.5, abs=1e-3)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=1e-2)


def test_mixup_and_cutmix_occur_with_their_probabilities() -> None:
    ids = list(range(800))
    images, _ = augmented(ids, mixup_alpha=1.0, cutmix_alpha=1.0, cutmix_share=0.3, mix_probability=0.8)
    before = batch(ids)
    same = (images - before.images).abs().amax(1) < 1e-6
    whole, some = same.flatten(1).all(1), same.flatten(1).any(1)
    assert whole.float().mean().item() == pytest.approx(0.2, abs=0.06)
    assert (some & ~whole).float().mean().item() == pytest.approx(0.3 * 0.8, abs=0.08)


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_partners_are_neighbours_and_an_odd_last_takes_the_first(count: int) -> None:
    found = partners(count)
    assert ((found >= 0) & (found < count)).all()
    even = count - count % 2
    assert found[:even].tolist() == [position ^ 1 for position in range(even)]
    assert not count % 2 or found[-1] == 0


def test_mixing_is_independent_of_the_device_batch() -> None:
    whole = augmented(range(32), **AUGMENTATIONS["mixing"].example)
    for device_batch in (2, 8, 16):
        parts = [
            augmented(range(start, start + device_batch), **AUGMENTATIONS["mixing"].example)
            for start in range(0, 32, device_batch)
        ]
        for index in (0, 1):
            assert torch.equal(torch.cat([part[index] for part in parts]), whole[index])
