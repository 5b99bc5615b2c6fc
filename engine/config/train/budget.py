"""The options of section `budget`: the accuracy a run has to reach, in how much time, and how it keeps to that."""

from dataclasses import dataclass

from engine.config.options import option
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """The target and the time of the run; a run that misses either ends with exit code 1."""

    target_top1: float = option(
        0.0, "top-1 accuracy to reach, as a fraction (0.92 = 92%); 0 = no target", low=0, high=1
    )
    minutes: float = option(
        0.0,
        "time limit for the whole run: set-up, training, validation and saving; 0 = no limit",
        unit="minutes",
        low=0,
    )
    hours: float = option(0.0, "the time limit in hours, instead of budget.minutes", unit="hours", low=0)
    adapt: bool = option(
        False,
        "keep to the time limit: while the machine is slower or faster than expected, shorten or lengthen the rest of "
        "the schedule so that the run ends in time; learning rate and resolution always reach their end",
    )
    margin: float = option(
        0.02,
        "adapt: change the schedule when the predicted end is off by more than this fraction of the limit",
        above=0,
        high=0.5,
    )
    clock: str = option(
        "wall",
        "adapt: what counts against the time limit of a run that was interrupted and resumed. wall: all time since it "
        "was first started. run: only the time in which it was running",
        choices=("wall", "run"),
    )
    stop_at_target: bool = option(
        False, "end the run at the first validation that reaches the target, and say how much time that saved"
    )
    on_alarm: str = option(
        "warn",
        "when the accuracy is far below that of other runs of this family (plan.family) at the same point of the "
        "schedule, twice in a row. warn: print the likely causes. stop: end the run too. off: do not compare",
        choices=("warn", "stop", "off"),
    )
    price: float = option(
        0.0, "price of the machine per hour, in any currency; 0 = cost is not reported", low=0
    )

    @property
    def seconds(self) -> float:
        """The time limit in seconds; 0 without one."""
        return self.minutes * 60 + self.hours * 3600


def check_budget(budget: BudgetConfig) -> None:
    """Raises UserError for options that don't go together."""
    if budget.minutes and budget.hours:
        raise UserError("budget.minutes and budget.hours both set the time limit: drop one")
    if budget.adapt and not budget.seconds:
        raise UserError("budget.adapt needs a time limit to keep to: set budget.minutes or budget.hours")
    if budget.stop_at_target and not budget.target_top1:
        raise UserError("budget.stop_at_target needs budget.target_top1, the accuracy to stop at: set it")
