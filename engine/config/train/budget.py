"""The options of section `budget`: the accuracy a run has to reach, and in how many minutes."""

from dataclasses import dataclass

from engine.config.options import option
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """The target of the run; a run that misses it ends with exit code 1."""

    target_top1: float = option(
        0.0, "top-1 accuracy to reach, as a fraction (0.92 = 92%); 0 = no target", low=0, high=1
    )
    minutes: float = option(
        0.0, "time limit for the target: training plus validation; 0 = no limit", unit="minutes", low=0
    )


def check_budget(budget: BudgetConfig) -> None:
    """Raises UserError for a time limit without a target."""
    if budget.minutes and not budget.target_top1:
        raise UserError(
            "budget.minutes needs budget.target_top1, the accuracy to reach in that time: set both or neither"
        )
