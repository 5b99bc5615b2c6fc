"""torch's settings for a run: what they refuse is said in the words of the options."""

import pytest
import torch
from torch import nn

from engine.errors import UserError
from engine.train.ranks.backends import deterministic_errors
from tests.train.steps import batches, network, recipe, step_of, take


class _Putting(nn.Module):
    """Needs an operation that has no deterministic form, on the CPU too."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        changed = images.clone()
        changed.put_(torch.tensor([0]), changed.new_zeros(1))
        return changed


def test_operation_without_deterministic_form_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(_Putting(), *network())
    step = step_of(recipe(deterministic=True), model)
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(UserError, match=r"training\.deterministic: this network needs put_"):
            take(step, batches(1))
    finally:
        torch.use_deterministic_algorithms(False)


def test_other_runtime_errors_pass_unchanged() -> None:
    with pytest.raises(RuntimeError, match="something else"), deterministic_errors():
        raise RuntimeError("something else")
