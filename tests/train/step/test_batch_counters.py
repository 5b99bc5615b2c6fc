"""Batch norms' counters: increased by one call for all norms, and always what torch's own counting gives."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from engine.models.build import MODELS, build_model, torchvision_names
from engine.models.head import train_mode, train_only_head
from engine.train.augment.chain import TrainBatch
from engine.train.step.batch_counters import BatchCounters
from engine.train.step.sam import Sam
from tests.train.steps import batches, network, recipe, step_of, take


class Operators(TorchDispatchMode):
    """Counts the operators that run within it, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        counted = args and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.int64
        name = f"{func.name()} of int64" if counted else func.name()
        self.counts[name] = self.counts.get(name, 0) + 1
        return func(*args, **(kwargs or {}))


def counters(model: nn.Module) -> dict[str, int]:
    return {name: int(value) for name, value in model.named_buffers() if name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("arch", ["small_resnet", "resnet50"])
def test_step_increases_all_counters_by_one_operator(arch: str) -> None:
    model = build_model(arch, 4, use_blurpool=False)
    images = TrainBatch(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    step = step_of(recipe(), model)
    with Operators() as operators:
        take(step, [images])
    assert "aten::add_.Tensor of int64" not in operators.counts
    assert operators.counts["aten::_foreach_add_.Scalar"] == 1
    assert set(counters(model).values()) == {1}


@pytest.mark.parametrize("sam", [0.0, 0.1])
def test_counters_and_statistics_equal_those_of_plain_passes(sam: float) -> None:
    ours, plain = network(), network().train()
    step = step_of(recipe(sam_rho=sam), ours)
    take(step, batches(4), accumulation=2, lr=0.0)
    for part in batches(4):
        plain(part.images)
    assert counters(ours) == counters(plain) and set(counters(ours).values()) == {4}
    expected = dict(plain.named_buffers())
    assert all(torch.equal(value, expected[name]) for name, value in ours.named_buffers())


def test_frozen_norms_keep_their_counters() -> None:
    model = build_model("small_resnet", 4, use_blurpool=False)
    train_only_head(model)
    step = step_of(recipe(), model)
    train_mode(model)
    take(step, [TrainBatch(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))])
    moved = [name for name, count in counters(model).items() if count]
    assert moved == ["layers.2.bn2.num_batches_tracked"]


def test_counters_return_after_a_failed_pass() -> None:
    model = network().train()
    before = {name: id(value) for name, value in model.named_buffers()}
    with pytest.raises(ValueError), BatchCounters(model).together():
        assert model(torch.randn(8, 3, 8, 8)).shape == (8, 4)
        raise ValueError
    assert {name: id(value) for name, value in model.named_buffers()} == before
    assert set(counters(model).values()) == {0}


def test_counter_that_a_norm_averages_with_is_its_own() -> None:
    averaging, expected = nn.BatchNorm1d(3, momentum=None), nn.BatchNorm1d(3, momentum=None)
    for number in range(3):
        values = torch.randn(4, 3, generator=torch.Generator().manual_seed(number))
        expected(values)
        with BatchCounters(averaging).together():
            averaging(values)
    assert counters(averaging) == {"num_batches_tracked": 3}
    torch.testing.assert_close(averaging.running_mean, expected.running_mean, rtol=0, atol=0)


def test_sams_second_pass_is_not_counted() -> None:
    model = network().train()
    sam, ours = Sam(model, rho=0.1, interval=1), BatchCounters(model)
    with sam.resting(), ours.together():
        model(torch.randn(8, 3, 8, 8))
    assert set(counters(model).values()) == {0}


def _calls(model: nn.Module, side: int) -> dict[str, int]:
    """How often each norm that counts takes part in one forward pass; it runs without memory or values."""
    model = copy.deepcopy(model).to("meta").train()
    calls: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            calls[name] = 0
            module.register_forward_pre_hook(lambda *_, name=name: calls.__setitem__(name, calls[name] + 1))
    model(torch.empty(2, 3, side, side, device="meta"))
    return calls


@pytest.mark.parametrize("arch", [*MODELS.names(), "resnet50", "densenet121", "mobilenet_v3_small"])
def test_every_norm_takes_part_once(arch: str) -> None:
    assert set(_calls(build_model(arch, 4, use_blurpool=False), 64).values()) == {1}


# One of each kind, the last by name. RegNets can't be built without memory, so that is a small one.
_KINDS = {
    arch.partition("_")[0].rstrip("0123456789"): arch
    for arch in torchvision_names()
    if "regnet" not in arch or arch.endswith("400mf")
}


@pytest.mark.slow
@pytest.mark.parametrize("arch", _KINDS.values())
def test_every_norm_of_torchvision_takes_part_once(arch: str) -> None:
    with torch.device("cpu" if "regnet" in arch else "meta"):
        model = build_model(arch, 4, use_blurpool=False)
    assert set(_calls(model, 224).values()) <= {1}
