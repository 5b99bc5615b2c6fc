"""What holds for every loss: each registered one is tested here without being named."""

import pytest
import torch
from torch.nn import functional

from engine.config.choices import LOSSES as CHOICES
from engine.config.choices import names
from engine.config.options import options_of
from engine.config.train.train_config import DataConfig, LossConfig, TrainConfig, TrainingConfig
from engine.train.step.losses import LOSSES, Loss

CLASSES, COUNT = 6, 8
EVERY = pytest.mark.parametrize("name", names(CHOICES))


def _loss(name: str, smoothing: float = 0.1, weights: torch.Tensor | None = None) -> Loss:
    config = TrainConfig(
        data=DataConfig(train_dataset="a", val_dataset="b"),
        training=TrainingConfig(label_smoothing=smoothing),
        loss=LossConfig(name=name),
    )
    return LOSSES[name](config, weights)


def _logits(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.randn(COUNT, CLASSES, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)


LABELS = torch.arange(COUNT) % CLASSES


def test_registered_losses_are_the_choices_of_the_option() -> None:
    assert sorted(options_of(LossConfig)["name"].choices) == LOSSES.names()


@EVERY
def test_loss_is_a_finite_scalar_with_a_gradient_for_each_logit(name: str) -> None:
    logits = _logits().requires_grad_()
    loss = _loss(name)(logits, LABELS)
    assert loss.shape == () and loss.isfinite() and loss > 0
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all() and (gradient != 0).all()


@EVERY
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels_equal_one_hot_targets(name: str, smoothing: float) -> None:
    hot = functional.one_hot(LABELS, CLASSES).float()
    loss = _loss(name, smoothing)
    torch.testing.assert_close(loss(_logits(), LABELS), loss(_logits(), hot))


@EVERY
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_of_one_change_nothing(name: str, smoothing: float) -> None:
    plain, ones = (_loss(name, smoothing, weights) for weights in (None, torch.ones(CLASSES)))
    torch.testing.assert_close(plain(_logits(), LABELS), ones(_logits(), LABELS))
    half = _loss(name, 0, torch.full((CLASSES,), 0.5))
    torch.testing.assert_close(half(_logits(), LABELS), _loss(name, 0)(_logits(), LABELS) / 2)


@EVERY
def test_loss_is_the_mean_over_the_batch(name: str) -> None:
    loss, logits = _loss(name), _logits()
    alone = torch.stack([loss(logits[row : row + 1], LABELS[row : row + 1]) for row in range(COUNT)])
    torch.testing.assert_close(loss(logits, LABELS), alone.mean())


@EVERY
def test_better_logits_have_a_lower_loss(name: str) -> None:
    right = functional.one_hot(LABELS, CLASSES).float()
    loss = _loss(name, 0.0)
    assert loss(5 * right, LABELS) < loss(right, LABELS) < loss(-right, LABELS)


@EVERY
def test_smoothing_penalises_certainty(name: str) -> None:
    certain = 30 * functional.one_hot(LABELS, CLASSES).float() - 15
    assert _loss(name, 0.1)(certain, LABELS) > _loss(name, 0.0)(certain, LABELS)


@EVERY
def test_bf16_logits_are_close_to_fp32(name: str) -> None:
    loss = _loss(name)
    torch.testing.assert_close(
        loss(_logits(torch.bfloat16), LABELS).float(), loss(_logits(), LABELS), rtol=0.02, atol=0
    )
