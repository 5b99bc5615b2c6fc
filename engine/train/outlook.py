"""What a run has before it, epoch by epoch, for whoever wants to foresee when it ends (engine/report/live.py)."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """Training on `images` images of `side` pixels a side, and whether a validation follows."""

    images: int
    side: int
    validated: bool = True


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """The epochs of a run (or of one stage, with those of the stages that come after it), from its very first on."""

    epochs: Sequence[Ahead]
    later: Sequence[Ahead] = ()
    done: int = 0
    """Images of `epochs` that were trained on before this process began."""
    label: str = ""
    """Which stage it is, as Stage.label has it."""
