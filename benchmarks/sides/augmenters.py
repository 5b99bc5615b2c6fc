"""Other libraries' augmentations with the settings of a recipe of ours: torchvision's v2 transforms, and kornia's.

Each function returns the ways to use one augmentation. Where the library decides once for each call, it is called for
each image (or pair of images), since ours decides for each image; one call for the whole batch is another use.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from engine.data.loading.loader import MEAN, STD

# ImageNet's, of levels in 0..1.
_MEAN, _STD = [level / 255 for level in MEAN], [level / 255 for level in STD]

Augmented = tuple[torch.Tensor, torch.Tensor]

EACH = "a call for each image"
PAIRS = "a call for each pair of images"
BATCH = "a call for the batch, a decision for each image"
ONE = "a call for the batch, one decision for all of it"


@dataclass(frozen=True, kw_only=True)
class Use:
    """One way to use a peer's augmentation."""

    how: str
    run: Callable[[torch.Tensor, torch.Tensor], Augmented]


def torchvision_uses(name: str, classes: int) -> list[Use]:
    """`name`'s, from uint8 images (n, 3, height, width)."""
    from torchvision.transforms import InterpolationMode, v2

    bilinear = InterpolationMode.BILINEAR
    normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(_MEAN, _STD)])
    images: dict[str, Any] = {
        "auto-augment": lambda: v2.AutoAugment(interpolation=bilinear),
        "rand-augment": lambda: v2.RandAugment(2, 9, interpolation=bilinear),
        "trivial-augment": lambda: v2.TrivialAugmentWide(interpolation=bilinear),
        "colour-jitter": lambda: v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
    }
    if name in images:
        change = images[name]()
        return [
            Use(how=EACH, run=lambda x, y: (normalise(_stacked(change, x)), y)),
            Use(how=ONE, run=lambda x, y: (normalise(change(x)), y)),
        ]
    if name in ("erasing-noise", "erasing-mean"):
        # In normalised images 0 is the mean colour, and its noise the usual one.
        erase = v2.RandomErasing(p=0.5, value="random" if name == "erasing-noise" else 0)
        return [
            Use(how=EACH, run=lambda x, y: (_stacked(erase, normalise(x)), y)),
            Use(how=ONE, run=lambda x, y: (erase(normalise(x)), y)),
        ]
    mix = (v2.MixUp if name == "mixup" else v2.CutMix)(alpha=_ALPHAS[name], num_classes=classes)
    return [
        Use(how=PAIRS, run=lambda x, y: _paired(mix, normalise(x), y)),
        Use(how=ONE, run=lambda x, y: mix(normalise(x), y)),
    ]


def kornia_uses(name: str, classes: int) -> list[Use]:
    """`name`'s, from float32 images (n, 3, height, width) in 0..1."""
    kornia: Any = importlib.import_module("kornia.augmentation")
    auto: Any = importlib.import_module("kornia.augmentation.auto")
    normalise = kornia.Normalize(torch.tensor(_MEAN), torch.tensor(_STD))
    policies: dict[str, Any] = {
        "auto-augment": lambda: auto.AutoAugment("imagenet"),
        "rand-augment": lambda: auto.RandAugment(2, 9),
        "trivial-augment": lambda: auto.TrivialAugment(),
    }
    if name in policies:
        change = policies[name]()
        return [
            Use(how=EACH, run=lambda x, y: (normalise(_stacked(lambda one: change(one[None])[0], x)), y)),
            Use(how=ONE, run=lambda x, y: (normalise(change(x)), y)),
        ]
    if name == "colour-jitter":
        jitter = kornia.ColorJitter(0.4, 0.4, 0.4, 0.1, p=1.0)
        return [Use(how=BATCH, run=lambda x, y: (normalise(jitter(x)), y))]
    if name == "erasing-mean":
        erase = kornia.RandomErasing(scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0.0, p=0.5)
        return [Use(how=BATCH, run=lambda x, y: (erase(normalise(x)), y))]
    if name == "erasing-noise":
        # It has none.
        return []
    if name == "mixup":
        # kornia's shares are uniform in these bounds, never Beta(alpha, alpha).
        mix = kornia.RandomMixUpV2(lambda_val=(0.0, 1.0), p=1.0, data_keys=["input", "class"])
        return [Use(how=BATCH, run=lambda x, y: tuple(mix(normalise(x), y)))]
    cut = kornia.RandomCutMixV2(p=1.0, beta=_ALPHAS[name], data_keys=["input", "class"])
    return [Use(how=BATCH, run=lambda x, y: tuple(cut(normalise(x), y)))]


_ALPHAS = {"mixup": 0.2, "cutmix": 1.0}


def _stacked(change: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    return torch.stack([change(image) for image in images])


def _paired(mix: Callable[..., Augmented], images: torch.Tensor, labels: torch.Tensor) -> Augmented:
    parts = [mix(images[at : at + 2], labels[at : at + 2]) for at in range(0, len(images), 2)]
    mixed, targets = zip(*parts, strict=True)
    return torch.cat(mixed), torch.cat(targets)
