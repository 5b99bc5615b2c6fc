"""The mean of several state_dicts, added up in float64 so that their order does not matter."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class WeightSum:
    """The sum of `count` state_dicts of one network.

    Whole numbers (batch norm's counters) are those of the first: a mean of them means nothing.
    """

    total: dict[str, torch.Tensor]
    count: int

    @classmethod
    def of(cls, state: State) -> "WeightSum":
        """The sum of one."""
        return cls({name: _wide(value) for name, value in state.items()}, 1)

    def added(self, state: State) -> "WeightSum":
        """The sum with one more, of the same names and shapes."""
        total = {
            name: value + state[name].double() if value.is_floating_point() else value
            for name, value in self.total.items()
        }
        return WeightSum(total, self.count + 1)

    def mean(self) -> dict[str, torch.Tensor]:
        """The mean; floats as float64, which load_state_dict rounds to the network's own."""
        return {
            name: value / self.count if value.is_floating_point() else value
            for name, value in self.total.items()
        }


def _wide(value: torch.Tensor) -> torch.Tensor:
    return value.double().clone() if value.is_floating_point() else value.clone()
