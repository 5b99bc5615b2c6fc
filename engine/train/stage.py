"""Which stage of a recipe of several a run is: what it says of itself for that, and the time it starts from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.train.outlook import Ahead


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Stage `number` (from 1) of `of`; the clock starts at the seconds that the stages before it took.

    `later` are the epochs of the stages after it.
    """

    number: int = 1
    of: int = 1
    earlier_seconds: float = 0.0
    later: Sequence[Ahead] = ()

    @property
    def label(self) -> str:
        """As in "stage 2 of 3"; empty where there is but one."""
        return f"stage {self.number} of {self.of}" if self.of > 1 else ""

    def entry(self) -> dict[str, Any]:
        """The stage's part of each log line; nothing where there is but one."""
        if self.of == 1:
            return {}
        return {"stage": self.number, "stages": self.of, "earlier_seconds": self.earlier_seconds}
