"""Crops are torchvision's law, drawn the same for every batch, worker and machine, and lie inside the image."""

import hashlib
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision import transforms
from torchvision.transforms import functional

from engine.data.sampling.crops import (
    FLIP,
    HEIGHT,
    LEFT,
    TOP,
    WIDTH,
    CenterCrop,
    CropLaw,
    RandomResizedCrop,
    ResizeThenCrop,
    aspect_table,
)
from tests.data.splitmix import GOLDEN, MASK, mix, uniform

SHAPES = [(375, 500), (500, 333), (64, 64), (1, 1), (1, 1000), (1000, 1), (2, 3), (30, 200), (65535, 65535)]

FIRST_BOXES = [[158, 99, 146, 161, 1], [9, 140, 240, 273, 0], [2, 2, 356, 401, 0], [137, 27, 201, 249, 1]]
BOXES_SHA256 = "ba32d0ece942315a00ebdbab9069e928b8188e8dfdf43272fc8ec2460a297733"
ASPECTS_SHA256 = "e27c161abcd9647401e3cef823dd0b7511f5b66f3307bf76fba96265dca73800"


def boxes_of(law: CropLaw, height: int, width: int, ids: NDArray[np.int64]) -> NDArray[np.int32]:
    """The boxes of samples that all have one size."""
    return law.boxes(ids, np.full(len(ids), height), np.full(len(ids), width))


def _mixed_sizes(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    sizes = np.array([SHAPES[sample % len(SHAPES)] for sample in range(count)])
    return sizes[:, 0], sizes[:, 1]


def _reference_box(law: RandomResizedCrop, sample: int, height: int, width: int) -> list[int]:
    """What crops.py draws, on Python's own integers and floats."""
    aspects = aspect_table(law.max_aspect).tolist()
    key = mix(mix((law.seed + GOLDEN) & MASK) + (law.epoch + 1) * GOLDEN)
    key = mix(key + (sample + 1) * GOLDEN)
    flip = int(law.flip and uniform(key, 0) < 0.5)
    for attempt in range(10):
        share, shape, down, across = (uniform(key, 1 + 4 * attempt + draw) for draw in range(4))
        area = height * width * (law.min_scale + (law.max_scale - law.min_scale) * share)
        aspect = aspects[int(shape * len(aspects))]
        crop_width = math.floor(math.sqrt(area * aspect) + 0.5)
        crop_height = math.floor(math.sqrt(area / aspect) + 0.5)
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top, left = int(down * (height - crop_height + 1)), int(across * (width - crop_width + 1))
            return [top, left, crop_height, crop_width, flip]
    crop_height, crop_width = height, width
    if width / height < aspects[0]:
        crop_height = max(1, math.floor(width / aspects[0] + 0.5))
    elif width / height > aspects[-1]:
        crop_width = max(1, math.floor(height * aspects[-1] + 0.5))
    return [(height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width, flip]


# The same everywhere


def test_compiled_crops_match_integer_arithmetic() -> None:
    ids = np.array([*range(200), 1_281_166, 2**31, 2**40])
    heights, widths = _mixed_sizes(len(ids))
    law = RandomResizedCrop(seed=2**31 - 1, epoch=89, min_scale=0.25)
    expected = [
        _reference_box(law, sample, height, width)
        for sample, height, width in zip(ids.tolist(), heights.tolist(), widths.tolist(), strict=True)
    ]
    assert law.boxes(ids, heights, widths).tolist() == expected


def test_crop_boxes_match_recorded_ones() -> None:
    boxes = boxes_of(RandomResizedCrop(seed=0, epoch=0), 375, 500, np.arange(4))
    assert boxes.tolist() == FIRST_BOXES
    assert boxes.dtype == np.int32
    heights, widths = _mixed_sizes(20_000)
    many = RandomResizedCrop(seed=7, epoch=15).boxes(np.arange(20_000), heights, widths)
    assert hashlib.sha256(many.astype("<i4").tobytes()).hexdigest() == BOXES_SHA256


def test_aspect_ratios_match_recorded_ones() -> None:
    table = aspect_table(4 / 3)
    assert hashlib.sha256(table.astype("<f8").tobytes()).hexdigest() == ASPECTS_SHA256
    assert table[0] == pytest.approx(3 / 4, abs=1e-7) and table[-1] == pytest.approx(4 / 3, abs=1e-7)
    np.testing.assert_allclose(np.diff(np.log(table)), np.log(16 / 9) / (len(table) - 1), atol=1e-6)
    # Far enough from the rounding's edge that another libm's last digit cannot cross it.
    exact = np.exp(np.linspace(-np.log(4 / 3), np.log(4 / 3), len(table))) * 2.0**24
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-6


def test_crop_box_is_independent_of_its_batch() -> None:
    heights, widths = _mixed_sizes(100)
    law = RandomResizedCrop(seed=3, epoch=1)
    whole = law.boxes(np.arange(100), heights, widths)
    order = np.random.default_rng(0).permutation(100)
    for part in np.array_split(order, 7):
        np.testing.assert_array_equal(law.boxes(part, heights[part], widths[part]), whole[part])
    for kind in (np.uint16, np.int32, np.int64):
        same = law.boxes(np.arange(100), heights.astype(kind), widths.astype(kind))
        np.testing.assert_array_equal(same, whole)


def test_seed_epoch_and_sample_all_change_the_crop() -> None:
    ids = np.arange(500)
    drawn = {
        (seed, epoch): boxes_of(RandomResizedCrop(seed=seed, epoch=epoch), 375, 500, ids)
        for seed in (0, 1, 2)
        for epoch in (0, 1, 2)
    }
    keys = list(drawn)
    for first in range(len(keys)):
        for second in range(first):
            equal = (drawn[keys[first]] == drawn[keys[second]]).all(axis=1)
            assert equal.mean() < 0.02, (keys[first], keys[second])
    assert len(np.unique(drawn[0, 0], axis=0)) > 490
    # Nor does a sample in one epoch repeat its neighbour in the next.
    assert (drawn[0, 0][1:] == drawn[0, 1][:-1]).all(axis=1).mean() < 0.02


# Torchvision's law


def _torchvision_boxes(height: int, width: int, count: int, scale: tuple[float, float]) -> NDArray[np.int64]:
    torch.manual_seed(0)
    image = torch.empty(1).expand(3, height, width)
    boxes = [
        transforms.RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3]) for _ in range(count)
    ]
    return np.array(boxes)


def _distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The largest difference between two samples' distribution functions (Kolmogorov and Smirnov's)."""
    points = np.sort(np.concatenate([first, second]))
    below = [
        np.searchsorted(np.sort(sample), points, side="right") / len(sample) for sample in (first, second)
    ]
    return float(np.abs(below[0] - below[1]).max())


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [(375, 500, (0.08, 1.0)), (500, 333, (0.25, 1.0)), (64, 64, (0.08, 1.0)), (60, 200, (0.3, 1.0))],
)
def test_crop_boxes_have_torchvisions_distribution(
    height: int, width: int, scale: tuple[float, float]
) -> None:
    count = 10_000
    law = RandomResizedCrop(seed=1, epoch=2, min_scale=scale[0], max_scale=scale[1])
    ours = boxes_of(law, height, width, np.arange(count)).astype(np.float64)
    theirs = _torchvision_boxes(height, width, count, scale).astype(np.float64)
    measures = {
        "area": lambda box: box[:, HEIGHT] * box[:, WIDTH],
        "aspect": lambda box: np.log(box[:, WIDTH] / box[:, HEIGHT]),
        "top": lambda box: box[:, TOP],
        "left": lambda box: box[:, LEFT],
        "place": lambda box: box[:, TOP] / np.maximum(1, height - box[:, HEIGHT]),
        "across": lambda box: box[:, LEFT] / np.maximum(1, width - box[:, WIDTH]),
    }
    # Two samples of one distribution differ by more in one of ten thousand draws.
    limit = math.sqrt(-math.log(1e-4 / 2) / count)
    for name, measure in measures.items():
        assert _distance(measure(ours), measure(theirs)) < limit, name


def test_distribution_test_rejects_another_law() -> None:
    theirs = _torchvision_boxes(375, 500, 10_000, (0.08, 1.0)).astype(np.float64)
    ours = boxes_of(RandomResizedCrop(seed=1, epoch=2, min_scale=0.15), 375, 500, np.arange(10_000))
    limit = math.sqrt(-math.log(1e-4 / 2) / 10_000)
    areas = [(boxes[:, HEIGHT] * boxes[:, WIDTH]).astype(np.float64) for boxes in (ours, theirs)]
    assert _distance(*areas) > limit
    assert _distance(np.round(theirs[:, LEFT] / 64) * 64, theirs[:, LEFT]) > limit


@pytest.mark.parametrize(("height", "width"), [(1, 1000), (1000, 1), (2, 900), (900, 2), (10, 100)])
def test_extreme_shapes_fall_back_to_torchvisions_centre_crop(height: int, width: int) -> None:
    ours = boxes_of(RandomResizedCrop(seed=0, epoch=0, min_scale=0.9), height, width, np.arange(50))
    theirs = _torchvision_boxes(height, width, 1, (0.9, 1.0))[0]
    np.testing.assert_array_equal(ours[:, :4], np.broadcast_to(theirs, (50, 4)))


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize(
    "law",
    [
        RandomResizedCrop(seed=0, epoch=0),
        RandomResizedCrop(seed=0, epoch=0, min_scale=0.35, max_scale=0.35),
        RandomResizedCrop(seed=0, epoch=0, min_scale=1.0, max_aspect=4.0),
        RandomResizedCrop(seed=0, epoch=0, min_scale=1e-9, max_scale=1e-9, max_aspect=1.0),
        CenterCrop(ratio=224 / 256),
        CenterCrop(ratio=1.0),
        CenterCrop(ratio=1e-9),
    ],
)
def test_crop_boxes_are_inside_the_image_and_not_empty(law: CropLaw, height: int, width: int) -> None:
    boxes = boxes_of(law, height, width, np.arange(1000))
    assert (boxes[:, [TOP, LEFT]] >= 0).all() and (boxes[:, [HEIGHT, WIDTH]] >= 1).all()
    assert (boxes[:, TOP] + boxes[:, HEIGHT] <= height).all()
    assert (boxes[:, LEFT] + boxes[:, WIDTH] <= width).all()
    assert np.isin(boxes[:, FLIP], (0, 1)).all()


def test_every_crop_position_can_be_drawn() -> None:
    law = RandomResizedCrop(seed=0, epoch=0, min_scale=0.25, max_scale=0.25, max_aspect=1.0)
    boxes = boxes_of(law, 6, 6, np.arange(2000))
    for column in (TOP, LEFT):
        counts = np.bincount(boxes[:, column])
        assert len(counts) == 4 and (np.abs(counts - 500) < 5 * math.sqrt(375)).all()


def test_half_of_the_samples_are_flipped_for_any_crop() -> None:
    boxes = boxes_of(RandomResizedCrop(seed=5, epoch=3), 375, 500, np.arange(20_000))
    flipped = boxes[:, FLIP] == 1
    assert abs(flipped.mean() - 0.5) < 4 * 0.5 / math.sqrt(20_000)
    for column in (TOP, LEFT, HEIGHT, WIDTH):
        assert abs(np.corrcoef(flipped, boxes[:, column])[0, 1]) < 0.03
    # From epoch to epoch a sample's flip is drawn anew.
    again = boxes_of(RandomResizedCrop(seed=5, epoch=4), 375, 500, np.arange(20_000))[:, FLIP] == 1
    assert abs((flipped == again).mean() - 0.5) < 0.02


def test_flip_off_leaves_crops_unchanged() -> None:
    ids = np.arange(1000)
    plain = boxes_of(RandomResizedCrop(seed=5, epoch=3, flip=False), 375, 500, ids)
    flipped = boxes_of(RandomResizedCrop(seed=5, epoch=3), 375, 500, ids)
    assert not plain[:, FLIP].any()
    np.testing.assert_array_equal(plain[:, :FLIP], flipped[:, :FLIP])


# Validation


@pytest.mark.parametrize(
    ("height", "width"), [(375, 500), (500, 375), (333, 500), (256, 256), (181, 777), (97, 41)]
)
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (232, 224), (256, 256)])
def test_centre_crop_matches_torchvision(height: int, width: int, resize: int, crop: int) -> None:
    # An image whose pixels say where they are.
    rows = torch.arange(height, dtype=torch.float32)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=torch.float32)[None].expand(height, width)
    both = transforms.Compose([transforms.Resize(resize), transforms.CenterCrop(crop)])
    left = both(torch.stack([rows, columns]))
    (box,) = boxes_of(CenterCrop(ratio=crop / resize), height, width, np.array([0])).tolist()
    assert box[HEIGHT] == box[WIDTH] and box[FLIP] == 0
    # Half the sides' rounding, and that of the resized image's middle to whole pixels, seen in the source.
    tolerance = 1.0 + min(height, width) / resize
    middle = crop // 2
    inner = slice(middle - 8, middle + 8)
    assert left[0, inner].mean() == pytest.approx(box[TOP] + (box[HEIGHT] - 1) / 2, abs=tolerance)
    assert left[1, :, inner].mean() == pytest.approx(box[LEFT] + (box[WIDTH] - 1) / 2, abs=tolerance)
    span = (left[0, middle + 50] - left[0, middle - 50]).mean() / 100 * crop
    assert span == pytest.approx(box[HEIGHT], abs=1.0)


def test_centre_crop_is_a_centred_square_of_the_ratio() -> None:
    boxes = CenterCrop(ratio=0.875).boxes(np.arange(3), np.array([400, 300, 1]), np.array([300, 401, 7]))
    assert boxes.tolist() == [[69, 19, 262, 262, 0], [19, 69, 262, 262, 0], [0, 3, 1, 1, 0]]
    assert boxes.dtype == np.int32


@pytest.mark.parametrize("side", [17, 224, 256])
def test_resized_centre_crop_lies_where_torchvision_puts_it(side: int) -> None:
    """torchvision is asked where it takes its rows and columns from: the image is its own coordinates."""
    random = np.random.default_rng(side)
    for height, width in random.integers(20, 900, (40, 2)).tolist():
        law = ResizeThenCrop.of(side, 0.875)
        (top, left, tall, wide), *_ = law.windows(np.array([height]), np.array([width]))
        rows = torch.arange(height, dtype=torch.float64)[:, None].expand(height, width)
        columns = torch.arange(width, dtype=torch.float64)[None].expand(height, width)
        resized = functional.resize(torch.stack([rows, columns]), [law.short_side], antialias=True)
        found = functional.center_crop(resized, [side, side])[:, side // 2, side // 2]
        middle = side // 2 + 0.5
        assert found[0] + 0.5 == pytest.approx(top + middle * tall / side, abs=0.1 * tall / side)
        assert found[1] + 0.5 == pytest.approx(left + middle * wide / side, abs=0.1 * wide / side)


def test_resized_centre_crop_reads_only_pixels_of_the_image() -> None:
    sides = np.random.default_rng(0).integers(1, 2000, (500, 2))
    for law in (ResizeThenCrop.of(224, 0.875), ResizeThenCrop.of(8, 1.0), ResizeThenCrop.of(300, 0.5)):
        boxes = law.boxes(np.arange(500), sides[:, 0], sides[:, 1]).astype(np.int64)
        windows = law.windows(sides[:, 0], sides[:, 1])
        assert (boxes[:, :4] >= [0, 0, 1, 1]).all()
        assert (boxes[:, :2] + boxes[:, 2:4] <= sides).all()
        assert (windows[:, :2] >= boxes[:, :2] - 1e-9).all()
        assert (windows[:, :2] + windows[:, 2:] <= boxes[:, :2] + boxes[:, 2:4] + 1e-9).all()
