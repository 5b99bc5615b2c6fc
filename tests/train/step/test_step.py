"""The optimizer step: clipping, SAM, the moving average, and steps that are left out, each against its formula."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from engine.errors import UserError
from engine.train.augment.chain import TrainBatch
from engine.train.optimizers.optimizer import decay_groups
from tests.train.steps import batches, network, recipe, step_of, take, weights

SMOOTHING = 0.1


def _gradients(model: nn.Module, parts: list[TrainBatch]) -> list[torch.Tensor]:
    """Of the mean loss over all parts, by autograd alone."""
    loss = torch.stack(
        [
            functional.cross_entropy(model(part.images), part.targets, label_smoothing=SMOOTHING)
            for part in parts
        ]
    ).mean()
    return list(torch.autograd.grad(loss, list(model.parameters())))


def _length(gradients: list[torch.Tensor]) -> float:
    return math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))


def _first(model: nn.Module) -> torch.Tensor:
    """The first layer's weights themselves."""
    return next(model.parameters()).detach()


def test_plain_step_equals_a_hand_written_loop_to_the_bit() -> None:
    parts, ours, plain = batches(6), network(), network().train()
    step = step_of(recipe(momentum=0.9, weight_decay=5e-5), ours)
    groups = decay_groups(plain, 5e-5)
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, fused=True)
    taken = take(step, parts, accumulation=2)
    for first, second in zip(parts[::2], parts[1::2], strict=True):
        total = torch.zeros(())
        for part in (first, second):
            loss = functional.cross_entropy(plain(part.images), part.targets, label_smoothing=SMOOTHING)
            (loss / 2).backward()
            total += loss.detach()
        optimizer.step()
        optimizer.zero_grad()
        assert taken.pop(0) == (float(total), False)
    assert all(torch.equal(ours.state_dict()[name], value) for name, value in plain.state_dict().items())


@pytest.mark.parametrize("limit", [1e-3, 1e3])
def test_clipping_scales_all_gradients_by_one_factor(limit: float) -> None:
    parts, model = batches(2), network(norm=False)
    before = [weight.detach().clone() for weight in model.parameters()]
    gradients = _gradients(model, parts)
    factor = min(1.0, limit / _length(gradients))
    step = step_of(recipe(clip_norm=limit, momentum=0, weight_decay=0), model)
    take(step, parts, accumulation=2)
    for weight, old, gradient in zip(model.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(weight.detach(), old - 0.1 * factor * gradient)


def _foret(model: nn.Module, parts: list[TrainBatch], rho: float) -> list[torch.Tensor]:
    """The gradient at w + rho g / |g|, with batch-norm statistics updated at w alone."""
    gradients = _gradients(model, parts)
    higher = copy.deepcopy(model)
    with torch.no_grad():
        for weight, gradient in zip(higher.parameters(), gradients, strict=True):
            weight.add_(rho * gradient / _length(gradients))
    return _gradients(higher, parts)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_sam_step_uses_the_gradient_at_the_ascended_point(accumulation: int) -> None:
    parts, model = batches(accumulation), network()
    reference = copy.deepcopy(model).train()
    before = [weight.detach().clone() for weight in model.parameters()]
    expected = _foret(reference, parts, 0.5)
    plain = _gradients(copy.deepcopy(model).train(), parts)
    step = step_of(recipe(sam_rho=0.5, momentum=0, weight_decay=0), model)
    take(step, parts, accumulation=accumulation)
    for weight, old, gradient in zip(model.parameters(), before, expected, strict=True):
        torch.testing.assert_close(weight.detach(), old - 0.1 * gradient, rtol=1e-4, atol=1e-6)
    assert _length([new - old for new, old in zip(expected, plain, strict=True)]) > 0.01, "SAM does something"
    for name, buffer in reference.named_buffers():
        torch.testing.assert_close(dict(model.named_buffers())[name], buffer, msg=name)


def test_sam_ascends_only_in_the_last_step_of_an_interval() -> None:
    parts = batches(3)
    never, third = network(), network()
    take(step_of(recipe(), never), parts[:2])
    step = step_of(recipe(sam_rho=0.5, sam_interval=3), third)
    take(step, parts[:2])
    assert all(torch.equal(never.state_dict()[name], value) for name, value in third.state_dict().items())
    for model, stepper in ((never, step_of(recipe(), never)), (third, step)):
        stepper.take(iter(parts[2:]), 1, lr=0.1, number=2)
        assert all(module.track_running_stats for module in model if isinstance(module, nn.BatchNorm2d))
    assert not torch.equal(_first(never), _first(third))


def test_error_in_the_second_sam_pass_restores_the_weights() -> None:
    model = network()
    step = step_of(recipe(sam_rho=0.5), model)
    before = [weight.detach().clone() for weight in model.parameters()]

    class Climbing(Exception):
        pass

    calls = 0

    def fail_at_the_second(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Climbing

    model.register_forward_pre_hook(fail_at_the_second)
    with pytest.raises(Climbing):
        take(step, batches(1))
    assert all(torch.equal(now, old) for now, old in zip(model.parameters(), before, strict=True))


def test_ema_forgets_half_in_its_half_life_for_any_interval() -> None:
    for every in (1, 2, 5):
        model = network()
        step = step_of(recipe(ema_half_life=10, ema_every=every), model)
        start = _first(model).clone()
        with torch.no_grad():
            _first(model).add_(1.0)
        assert step.ema is not None
        for number in range(10):
            step.ema.update(number)
        torch.testing.assert_close(_first(step.ema.model), start + 0.5)


def test_ema_matches_its_recurrence_and_leaves_training_unchanged() -> None:
    model, parts = network(), batches(6)
    alone = copy.deepcopy(model)
    average = weights(model)
    step, keep = step_of(recipe(ema_half_life=3, ema_every=2), model), 2 ** (-2 / 3)
    for number, part in enumerate(parts):
        step.take(iter([part]), 1, lr=0.1, number=number)
        if number % 2:
            for name, value in model.state_dict().items():
                counted = not value.is_floating_point()
                average[name] = value.clone() if counted else keep * average[name] + (1 - keep) * value
    take(step_of(recipe(), alone), parts)
    assert all(torch.equal(alone.state_dict()[name], value) for name, value in model.state_dict().items())
    assert step.ema is not None
    for name, value in step.ema.model.state_dict().items():
        torch.testing.assert_close(value, average[name], msg=name)


def test_sync_bn_without_gpus_is_refused() -> None:
    with pytest.raises(UserError, match=r"training\.sync_bn needs GPUs, and this run is on the cpu: drop it"):
        step_of(recipe(sync_bn=True), network())
    with pytest.raises(UserError, match=r"training\.sync_bn needs GPUs"):
        recipe(sync_bn=True, device="cpu")


@pytest.mark.gpu
def test_sync_bn_keeps_the_names_of_the_weights() -> None:
    from engine.train.ranks.group import Ranks
    from engine.train.step.step import _synchronise_norms

    model, before = network().cuda(), network().state_dict().keys()
    _synchronise_norms(
        model, Ranks(rank=0, world=2, local_rank=0, local_world=2, device=torch.device("cuda"))
    )
    assert isinstance(model[1], nn.SyncBatchNorm)
    assert model.state_dict().keys() == before
