"""What holds for every augmentation: each registered one is tested here without being named, with its example."""

import pytest
import torch

from engine.config.options import options_of
from engine.config.train.train_config import AugmentationConfig
from engine.data.loading.loader import MEAN, STD
from engine.train.augment.chain import AUGMENTATIONS, Augment, loader_dtype
from tests.train.augment.augmented import CLASSES, augmented, batch, config

EVERY = pytest.mark.parametrize("name", AUGMENTATIONS)


@EVERY
def test_options_turn_exactly_this_augmentation_on(name: str) -> None:
    law = AugmentationConfig(**AUGMENTATIONS[name].example)
    on = [other for other, kind in AUGMENTATIONS.items() if kind.build(law, CLASSES) is not None]
    assert on == [name]
    assert AUGMENTATIONS[name].build(AugmentationConfig(), CLASSES) is None, "off by default"


def test_each_policy_choice_is_a_registered_augmentation() -> None:
    assert set(options_of(AugmentationConfig)["policy"].choices) - {"none"} <= set(AUGMENTATIONS)


@EVERY
def test_same_seed_and_epoch_give_the_same_bits(name: str) -> None:
    one, other = (augmented(range(16), **AUGMENTATIONS[name].example) for _ in range(2))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@EVERY
@pytest.mark.parametrize("changed", [{"epoch": 1}, {"seed": 1}], ids=str)
def test_another_seed_or_epoch_gives_other_images(name: str, changed: dict[str, int]) -> None:
    law = AUGMENTATIONS[name].example
    images, _ = augmented(range(16), **law)
    assert not torch.allclose(augmented(range(16), **changed, **law)[0], images, atol=0.1)


@EVERY
def test_sample_gets_the_same_in_any_batch_on_any_rank(name: str) -> None:
    law = AUGMENTATIONS[name].example
    images, targets = augmented(range(16), **law)
    # Neighbours stay together, since MixUp and CutMix mix them.
    shuffled = [6, 7, 2, 3, 14, 15, 8, 9]
    others, other_targets = augmented(shuffled, **law)
    assert torch.allclose(others, images[shuffled], atol=1e-4)
    assert torch.equal(other_targets, targets[shuffled])


@EVERY
def test_resumed_epoch_gives_the_rest_of_the_whole_one(name: str) -> None:
    law = AUGMENTATIONS[name].example
    parts = [range(start, start + 8) for start in (0, 8, 16)]
    whole = Augment(config(**law), CLASSES, torch.float32)
    expected = [whole(batch(part), 3) for part in parts]
    resumed = Augment(config(**law), CLASSES, torch.float32)
    for part, before in zip(parts[1:], expected[1:], strict=True):
        after = resumed(batch(part), 3)
        assert torch.equal(after.images, before.images) and torch.equal(after.targets, before.targets)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_shape_dtype_and_range_are_those_of_normalised_images(name: str, dtype: torch.dtype) -> None:
    law, given = AUGMENTATIONS[name].example, batch(range(16))
    assert loader_dtype(config(**law), dtype) == torch.float32
    done = Augment(config(**law), CLASSES, dtype)(given, 0)
    count, channels, height, width = done.images.shape
    assert (count, channels) == (16, 3) and 12 <= height <= 24 and 12 <= width <= 24
    assert done.images.dtype == dtype
    assert done.images.is_contiguous(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    if AUGMENTATIONS[name].example.get("erasing_fill") != "noise":
        levels = done.images.float() * std + mean
        assert levels.min() > -2 and levels.max() < 257
    assert done.images.isfinite().all()


@EVERY
def test_targets_are_labels_or_shares_that_add_up_to_one(name: str) -> None:
    _, targets = augmented(range(16), **AUGMENTATIONS[name].example)
    if targets.ndim == 1:
        assert torch.equal(targets, batch(range(16)).labels)
    else:
        assert targets.shape == (16, CLASSES) and targets.dtype == torch.float32
        assert targets.min() >= 0
        torch.testing.assert_close(targets.sum(1), torch.ones(16))


@EVERY
def test_single_image_is_augmented_too(name: str) -> None:
    images, targets = augmented([4], **AUGMENTATIONS[name].example)
    assert len(images) == len(targets) == 1 and images.isfinite().all()
