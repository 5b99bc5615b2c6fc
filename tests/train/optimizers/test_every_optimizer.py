"""What holds for every optimizer: each registered one is tested here without being named."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import engine.train.optimizers
from engine.config.choices import OPTIMIZERS, names
from engine.config.options import OptionSpec, options_of
from engine.config.train.training import TrainingConfig
from engine.errors import UserError
from engine.train.augment.chain import TrainBatch
from engine.train.optimizers.optimizer import build_optimizer
from tests.train.steps import batches, network, recipe, step_of, take, weights

EVERY = pytest.mark.parametrize("name", names(OPTIMIZERS))
TAKEN = sorted({option for choice in OPTIMIZERS.values() for option in choice.takes})
"""Options of section training that only some optimizers read."""


def equal(one: Any, other: Any) -> bool:
    """Whether two state_dicts hold the same bits."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def trained(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the parameters alone, without statistics."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def test_registered_optimizers_match_the_files() -> None:
    folder = Path(engine.train.optimizers.__file__).parent
    files = {file.stem for file in folder.glob("*.py")} - {"__init__", "optimizer"}
    assert files == {name.replace("-", "_") for name in names(OPTIMIZERS)}
    assert options_of(TrainingConfig)["optimizer"].choices == names(OPTIMIZERS)


@EVERY
def test_training_on_one_batch_fits_its_labels(name: str) -> None:
    (part,) = batches(1)
    lowest = math.inf
    for lr in (0.1, 0.01, 0.001):
        losses = [loss for loss, _ in take(step_of(recipe(optimizer=name), network()), [part] * 60, lr=lr)]
        assert all(map(math.isfinite, losses))
        lowest = min(lowest, losses[-1] / losses[0])
    # Label smoothing keeps the loss above 0.
    assert lowest < 0.5


@EVERY
def test_loaded_state_continues_to_the_same_bits(name: str) -> None:
    config = recipe(
        optimizer=name, sam_rho=0.1, sam_interval=2, ema_half_life=4, ema_every=3, clip_norm=1, momentum=0.9
    )
    parts = batches(8)
    whole, cut = network(), network()
    step = step_of(config, whole)
    take(step, parts, lr=0.01)
    first = step_of(config, cut)
    take(first, parts[:4], lr=0.01)
    again = network()
    again.load_state_dict(weights(cut))
    second = step_of(config, again)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for number, part in enumerate(parts[4:], start=4):
        second.take(iter([part]), 1, lr=0.01, number=number)
    assert equal(again.state_dict(), whole.state_dict())
    assert equal(second.state_dict(), step.state_dict())


@EVERY
def test_state_holds_only_tensors_and_plain_values(name: str, tmp_path: Path) -> None:
    step = step_of(recipe(optimizer=name), network())
    take(step, batches(2))
    torch.save(step.state_dict(), tmp_path / "state.pt")
    assert equal(torch.load(tmp_path / "state.pt", weights_only=True), step.state_dict())


@EVERY
def test_zero_gradients_shrink_weights_but_not_norms_and_biases(name: str) -> None:
    model = network()
    optimizer = build_optimizer(model, recipe(optimizer=name, weight_decay=0.1))
    grouped = [weight for group in optimizer.param_groups for weight in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, model.parameters()))
    before = trained(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for key, weight in model.named_parameters():
        if weight.ndim > 1:
            assert weight.norm() < before[key].norm(), key
        else:
            assert torch.equal(weight, before[key]), key


@EVERY
def test_learning_rate_zero_leaves_weights_unchanged(name: str) -> None:
    model = network()
    before = trained(model)
    take(step_of(recipe(optimizer=name, weight_decay=0.1), model), batches(3), lr=0.0)
    assert equal(trained(model), before)


@EVERY
def test_weight_without_gradient_stays_unchanged(name: str) -> None:
    model = network()
    frozen = next(model.parameters()).requires_grad_(False)
    before = frozen.clone()
    take(step_of(recipe(optimizer=name, weight_decay=0.1), model), batches(2))
    assert torch.equal(frozen, before)


@EVERY
def test_accumulated_halves_equal_the_whole_batch(name: str) -> None:
    (whole,) = batches(1)
    double = TrainBatch(whole.images.double(), whole.targets)
    halves = [TrainBatch(double.images[rows], double.targets[rows]) for rows in (slice(4), slice(4, 8))]
    once, twice = (network(norm=False).double() for _ in range(2))
    take(step_of(recipe(optimizer=name), once), [double] * 3, lr=0.01)
    take(step_of(recipe(optimizer=name), twice), halves * 3, accumulation=2, lr=0.01)
    for key, value in once.state_dict().items():
        torch.testing.assert_close(twice.state_dict()[key], value, rtol=1e-6, atol=1e-8, msg=key)


@EVERY
@pytest.mark.parametrize("sam", [0.0, 0.5])
def test_nonfinite_step_leaves_state_unchanged(name: str, sam: float) -> None:
    good, bad = batches(2)
    bad.images[0, 0, 0, 0] = float("nan")
    model = network()
    step = step_of(recipe(nonfinite="skip", optimizer=name, sam_rho=sam), model)
    take(step, [good], lr=0.01)
    before, state = trained(model), copy.deepcopy(step.state_dict())
    statistics = {key: value.clone() for key, value in model.named_buffers() if value.is_floating_point()}
    ((loss, left_out),) = take(step, [bad], lr=0.01)
    assert math.isnan(loss) and left_out
    assert equal(trained(model), before)
    assert equal(step.state_dict()["optimizer"], state["optimizer"])
    assert all(torch.equal(dict(model.named_buffers())[key], value) for key, value in statistics.items())


@EVERY
@pytest.mark.parametrize("sam", [0.0, 0.5])
def test_run_with_a_nonfinite_step_equals_one_without_it(name: str, sam: float) -> None:
    parts = batches(3)
    parts[1].images[0, 0, 0, 0] = float("nan")
    spared, without = network(), network()
    config = recipe(nonfinite="skip", optimizer=name, sam_rho=sam)
    taken = take(step_of(config, spared), parts, lr=0.01)
    assert [left_out for _, left_out in taken] == [False, True, False]
    take(step_of(config, without), [parts[0], parts[2]], lr=0.01)
    assert equal(trained(spared), trained(without))


@EVERY
def test_skipping_changes_nothing_while_gradients_are_finite(name: str) -> None:
    parts, plain, skipping = batches(4), network(), network()
    first = take(step_of(recipe(optimizer=name), plain), parts, lr=0.01)
    assert take(step_of(recipe(optimizer=name, nonfinite="skip"), skipping), parts, lr=0.01) == first
    assert equal(plain.state_dict(), skipping.state_dict())


class _Operators(TorchDispatchMode):
    """Counts the operators that run within it."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # Views start nothing on the device.
        self.count += func not in (torch.ops.aten.detach.default, torch.ops.aten.unbind.int)
        return func(*args, **(kwargs or {}))


def _operators_of_a_step(name: str, layers: int) -> int:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers)))
    optimizer = build_optimizer(model, recipe(optimizer=name, weight_decay=0.1, momentum=0.9))
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    for _ in range(2):
        for weight in model.parameters():
            weight.grad = torch.ones_like(weight)
        # The first step also makes the state.
        with _Operators() as operators:
            optimizer.step()
    return operators.count


@EVERY
def test_number_of_operators_does_not_grow_with_the_weights(name: str) -> None:
    few, many = (_operators_of_a_step(name, layers) for layers in (2, 9))
    assert few == many
    # Of two groups; as counted with torch 2.15.
    assert many <= {"sgd": 4, "sgdw": 7, "adamw": 6, "lamb": 32}.get(name, many)


def _another(spec: OptionSpec) -> Any:
    """A value whose effect shows within three steps."""
    if spec.type is bool:
        return not spec.default
    return spec.default / 2 if spec.default > 1e-3 else 1e-3


@EVERY
@pytest.mark.parametrize("option", TAKEN)
def test_option_changes_weights_only_if_supported(name: str, option: str) -> None:
    value, changed = _another(options_of(TrainingConfig)[option]), network()
    plain = network()
    take(step_of(recipe(optimizer=name), plain), batches(3))
    try:
        take(step_of(recipe(optimizer=name, **{option: value}), changed), batches(3))
    except UserError as refusal:
        assert option not in OPTIMIZERS[name].takes and "has no effect" in str(refusal)
    else:
        assert equal(trained(plain), trained(changed)) == (option not in OPTIMIZERS[name].takes)
