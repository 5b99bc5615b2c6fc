"""Which arithmetic is chosen, on the CPU and (with the GPU's capability replaced) on old and new GPUs."""

import pytest
import torch

from engine.errors import UserError
from engine.train.step import precision
from engine.train.step.precision import choose_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("capability", "asked", "chosen"),
    [((7, 0), "auto", "fp16"), ((8, 0), "auto", "bf16"), ((9, 0), "auto", "bf16"), ((7, 0), "fp32", "fp32")],
)
def test_auto_is_bf16_from_ampere_on_and_fp16_on_a_v100(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], asked: str, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision(asked, GPU).name == chosen


def test_bf16_on_a_v100_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    with pytest.raises(UserError, match="no bf16"):
        choose_precision("bf16", GPU)


@pytest.mark.parametrize(("has_bf16", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_auto_on_a_cpu_depends_on_its_flags(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, chosen: str
) -> None:
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: has_bf16)
    assert choose_precision("auto", CPU).name == chosen


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(UserError, match="needs a GPU"):
        choose_precision("fp16", CPU)


def test_only_fp16_scales_gradients() -> None:
    assert not choose_precision("bf16", CPU).scaler().is_enabled()
    assert not choose_precision("fp32", CPU).scaler().is_enabled()
