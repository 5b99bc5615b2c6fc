"""Each image operation against torchvision's or Pillow's on single images, and each policy's choices."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment as timm_reference
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as torchvision_reference
from torchvision.transforms.v2 import functional as reference
from torchvision.transforms.v2._auto_augment import _AutoAugmentBase

from engine.config.train.train_config import AugmentationConfig
from engine.train.augment.augmentation import Draws
from engine.train.augment.colour_jitter import colour_jitter_layers
from engine.train.augment.colours import COLOURS
from engine.train.augment.geometry import GEOMETRIC
from engine.train.augment.operations import IDENTITY, NAMES, Layer, apply_layer, in_space
from engine.train.augment.policies import (
    IMAGENET_POLICY,
    INCREASING,
    STANDARD,
    WIDE,
    WITH_INVERT,
    auto_augment_layers,
    rand_augment_layers,
    trivial_augment_layers,
)

HEIGHT, WIDTH = 37, 52
BLACK = torch.zeros(3, 1, 1)
# torchvision's names of operations, and our own.
THEIRS = {
    "identity": "Identity",
    "shear-x": "ShearX",
    "shear-y": "ShearY",
    "translate-x": "TranslateX",
    "translate-y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "saturation": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
    "invert": "Invert",
}


def _pictures(count: int) -> torch.Tensor:
    """uint8 (count, 3, HEIGHT, WIDTH): noise on gradients, so that histograms are uneven; one flat channel."""
    random = np.random.default_rng(3)
    slope = np.linspace(0, 180, WIDTH)[None, None, None] * random.uniform(0.2, 1, (count, 3, 1, 1))
    pictures = np.clip(slope + random.normal(30, 20, (count, 3, HEIGHT, WIDTH)), 0, 255)
    pictures[0, 1] = 77
    return torch.from_numpy(pictures.astype(np.uint8))


def _done(pictures: torch.Tensor, names: list[str], values: list[float]) -> torch.Tensor:
    images = pictures.float().contiguous(memory_format=torch.channels_last)
    operations = np.array([NAMES.index(name) for name in names])
    apply_layer(images, Layer(operations=operations, values=np.array(values, float)), BLACK)
    return images


CASES = [
    ("brightness", [0.3, 1.7], lambda x, v: reference.adjust_brightness(x, v)),
    ("saturation", [0.01, 1.8], lambda x, v: reference.adjust_saturation(x, v)),
    ("contrast", [0.2, 1.9], lambda x, v: reference.adjust_contrast(x, v)),
    ("sharpness", [0.1, 1.9], lambda x, v: reference.adjust_sharpness(x, v)),
    ("hue", [-0.4, 0.13], lambda x, v: reference.adjust_hue(x, v)),
    ("posterize", [1, 5], lambda x, v: reference.posterize(x, int(v))),
    ("solarize", [0, 127.5], lambda x, v: reference.solarize(x, v)),
    ("invert", [0, 0], lambda x, v: reference.invert(x)),
    ("autocontrast", [0, 0], lambda x, v: reference.autocontrast(x)),
    ("equalize", [0, 0], lambda x, v: reference.equalize(x)),
]


@pytest.mark.parametrize(("name", "values", "theirs"), CASES, ids=[case[0] for case in CASES])
def test_colour_operation_matches_torchvision_within_a_level(name, values, theirs) -> None:  # type: ignore[no-untyped-def]
    pictures = _pictures(2)
    ours = _done(pictures, [name, name], values)
    expected = torch.stack([theirs(picture, value) for picture, value in zip(pictures, values, strict=True)])
    # torchvision cuts or rounds to whole levels; what counts in them is equal.
    limit = 0 if name in ("posterize", "solarize", "invert", "equalize") else 1.01
    # Its gray is cut before it is blended in, and the blend again.
    limit += name == "saturation"
    assert (ours - expected.float()).abs().max() <= limit
    assert ours.min() >= 0 and ours.max() <= 255


def test_equalize_matches_pillow_and_keeps_a_flat_image() -> None:
    from PIL import ImageOps

    flat = torch.full((1, 3, HEIGHT, WIDTH), 9, dtype=torch.uint8)
    pictures = torch.cat([_pictures(2), flat])
    ours = _done(pictures, ["equalize"] * 3, [0] * 3)
    for picture, image in zip(pictures, ours, strict=True):
        pillow = ImageOps.equalize(Image.fromarray(picture.permute(1, 2, 0).numpy()))
        assert np.array_equal(np.asarray(pillow), image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("added", [0, 40, 110])
def test_solarize_add_matches_timm(added: int) -> None:
    picture = _pictures(2)[1:]
    image = Image.fromarray(picture[0].permute(1, 2, 0).numpy())
    expected = np.asarray(timm_reference.solarize_add(image, added))
    assert np.array_equal(_done(picture, ["solarize-add"], [added])[0].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(
    ("name", "size"),
    [("shear-x", 0.3), ("shear-y", 0.99), ("translate-x", 7), ("translate-y", 11), ("rotate", 33)],
)
def test_geometric_operation_matches_torchvision(name: str, size: float, sign: int) -> None:
    # Smooth, so that float coordinates' last digits do not show.
    pictures = reference.gaussian_blur(_pictures(2).float(), [7, 7])
    ours = _done(pictures, [name, "identity"], [sign * size, 0])
    expected = _AutoAugmentBase._apply_image_or_video_transform(
        torchvision_reference.RandAugment(),
        pictures[0],
        THEIRS[name],
        sign * size,
        InterpolationMode.BILINEAR,
        {torch.Tensor: None},
    )
    assert (ours[0] - expected).abs().max() < 0.05
    assert torch.equal(ours[1], pictures[1])


def test_translation_fills_the_outside() -> None:
    images = torch.full((1, 3, 8, 8), 50.0)
    layer = Layer(operations=np.array([NAMES.index("translate-x")]), values=np.array([3.0]))
    apply_layer(images, layer, torch.tensor([1.0, 2.0, 3.0])[:, None, None])
    assert images[0, :, 0, :3].T.tolist() == [[1, 2, 3]] * 3
    assert torch.all(images[:, :, :, 3:] == 50)


def test_mixed_batch_equals_each_sample_alone() -> None:
    names = [*NAMES, *NAMES]
    values = [0.2 if name in GEOMETRIC or name == "hue" else 1.5 for name in names]
    pictures = _pictures(len(names))
    together = _done(pictures, names, values)
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        alone = _done(pictures[row : row + 1], [name], [value])
        assert torch.allclose(together[row], alone[0], atol=1e-3), name


@pytest.mark.parametrize(
    ("space", "theirs", "bins"),
    [
        (WIDE, torchvision_reference.TrivialAugmentWide._AUGMENTATION_SPACE, 31),
        (STANDARD, torchvision_reference.RandAugment._AUGMENTATION_SPACE, 31),
        (WITH_INVERT, torchvision_reference.AutoAugment._AUGMENTATION_SPACE, 10),
    ],
    ids=["trivial-augment", "rand-augment", "auto-augment"],
)
def test_strengths_match_torchvision_in_every_bin(space, theirs, bins: int) -> None:  # type: ignore[no-untyped-def]
    names = {THEIRS[name] for name in space}
    assert names - {"Identity"} == set(theirs) - {"Identity"}
    for name in space:
        if name == "identity":
            continue
        magnitudes, signed = theirs[THEIRS[name]][0](bins, 224, 160), theirs[THEIRS[name]][1]
        if magnitudes is None:
            continue
        for sign in (1, -1):
            strengths = sign * np.arange(bins) / (bins - 1)
            ours = in_space(space, np.full(bins, name), strengths, 224, 160).values
            expected = magnitudes.double().numpy() * (sign if signed else 1)
            if name.startswith("translate"):
                # torchvision's int() sees float32's last digits.
                expected = np.trunc(np.round(expected, 4))
            elif name in ("brightness", "saturation", "contrast", "sharpness"):
                expected = 1 + expected
            elif name == "solarize":
                expected = 255 * expected
            assert ours == pytest.approx(expected, abs=1e-4), name


def test_imagenet_policy_matches_torchvision() -> None:
    policy = torchvision_reference.AutoAugment()._get_policies(
        torchvision_reference.AutoAugmentPolicy.IMAGENET
    )
    ours = [
        tuple((THEIRS[name], probability, strength) for name, probability, strength in pair)
        for pair in IMAGENET_POLICY
    ]
    theirs = [
        tuple((name, probability, strength or 0) for name, probability, strength in pair) for pair in policy
    ]
    assert ours == theirs


@pytest.mark.parametrize("magnitude", [0, 3.3, 7, 9, 10])
def test_increasing_strengths_match_timm(magnitude: float) -> None:
    theirs = {
        "rotate": "Rotate", "posterize": "PosterizeIncreasing", "solarize": "SolarizeIncreasing",
        "solarize-add": "SolarizeAdd", "saturation": "ColorIncreasing", "contrast": "ContrastIncreasing",
        "brightness": "BrightnessIncreasing", "sharpness": "SharpnessIncreasing", "shear-x": "ShearX",
        "shear-y": "ShearY", "translate-x": "TranslateXRel", "translate-y": "TranslateYRel",
    }  # fmt: skip
    assert {*theirs.values(), "AutoContrast", "Equalize", "Invert"} == set(
        timm_reference._RAND_INCREASING_TRANSFORMS
    )
    assert {*theirs, "autocontrast", "equalize", "invert"} == set(INCREASING)
    sides = {"translate-x": 160, "translate-y": 224}
    for name, other in theirs.items():
        found = {float(INCREASING[name](np.array([s * magnitude / 10]), 224, 160)[0]) for s in (-1, 1)}
        level: Any = timm_reference.LEVEL_TO_ARG[other]
        drawn = {level(magnitude, {})[0] for _ in range(40)}
        expected = {value * sides.get(name, 1) for value in drawn}
        assert sorted(found) == pytest.approx(sorted(expected)), name


def _draws(count: int = 20_000) -> Draws:
    return Draws(seed=1, epoch=2, ids=np.arange(count))


def _frequencies(layer: Layer) -> dict[str, float]:
    return {name: float((layer.operations == code).mean()) for code, name in enumerate(NAMES)}


def test_trivial_augment_draws_uniformly() -> None:
    (layer,) = trivial_augment_layers(_draws(), 224, 224)
    shares = _frequencies(layer)
    assert all(shares[name] == pytest.approx(1 / 14, abs=0.01) for name in WIDE)
    rotations = layer.values[layer.operations == NAMES.index("rotate")]
    strengths, counts = np.unique(np.round(rotations / 4.5), return_counts=True)
    assert len(strengths) == 61 and strengths.min() == -30 and strengths.max() == 30
    assert counts.min() > 5 and abs(rotations.mean()) < 6


def test_rand_augment_draws_uniformly_with_its_probability() -> None:
    law = AugmentationConfig(rand_augment_ops=3, rand_augment_probability=0.5, rand_augment_form="timm",
                             rand_augment_magnitude=7, rand_augment_std=0.5)  # fmt: skip
    layers = rand_augment_layers(law, _draws(), 224, 224)
    assert len(layers) == 3
    for layer in layers:
        shares = _frequencies(layer)
        assert shares["identity"] == pytest.approx(0.5, abs=0.02)
        assert all(shares[name] == pytest.approx(0.5 / 15, abs=0.008) for name in INCREASING)
        degrees = np.abs(layer.values[layer.operations == NAMES.index("rotate")])
        assert degrees.mean() == pytest.approx(21, abs=0.3) and degrees.std() == pytest.approx(1.5, abs=0.2)
    assert (layers[0].operations != layers[1].operations).mean() > 0.5


def test_auto_augment_draws_pairs_with_their_probabilities() -> None:
    first, second = auto_augment_layers(_draws(), 224, 224)
    for part, layer in enumerate((first, second)):
        expected = dict.fromkeys(NAMES, 0.0)
        for pair in IMAGENET_POLICY:
            expected[pair[part][0]] += pair[part][1] / 25
        expected["identity"] = 1 - sum(expected.values())
        assert _frequencies(layer) == pytest.approx(expected, abs=0.015)


def test_colour_jitter_applies_each_kind_once_with_uniform_factors() -> None:
    law = AugmentationConfig(brightness=0.4, contrast=0.3, saturation=0.2, hue=0.1)
    layers = colour_jitter_layers(law, _draws(), 32, 32)
    operations = np.stack([layer.operations for layer in layers])
    assert np.array_equal(np.sort(operations, 0)[:, 0], np.sort([NAMES.index(k) for k in KINDS]))
    assert (np.sort(operations, 0) == np.sort(operations, 0)[:, :1]).all()
    assert len(np.unique(operations, axis=1).T) == 24
    for kind, (low, high) in KINDS.items():
        values = np.concatenate([layer.values[layer.operations == NAMES.index(kind)] for layer in layers])
        assert low <= values.min() < low + 0.01 and high - 0.01 < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.01)


KINDS = {"brightness": (0.6, 1.4), "contrast": (0.7, 1.3), "saturation": (0.8, 1.2), "hue": (-0.1, 0.1)}


def test_every_operation_has_a_different_code() -> None:
    assert len(set(NAMES)) == len(NAMES) == 1 + len(GEOMETRIC) + len(COLOURS)
    assert NAMES[IDENTITY] == "identity"
