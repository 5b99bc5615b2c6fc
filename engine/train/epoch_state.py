"""How far a run has come, between two steps: what a checkpoint holds beside weights and optimizer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class EpochState:
    """`step` optimizer steps of epoch `epoch` (from 0) are done; the rest is what the epoch's log line will say of it.

    When all steps are done, validation and the log line are still to come.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    skips: int = 0
    losses: dict[str, Any] = field(default_factory=dict)
    """EpochLosses.state_dict(); empty before the first step."""

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}, step {self.step}"


class Pauses(Protocol):
    """Who may save, or end, a run between two steps (saver.Saver)."""

    def begin_step(self) -> None: ...
    def end_step(self, state: Callable[[], EpochState]) -> None: ...
