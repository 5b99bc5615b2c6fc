"""Compares each validation with the family's other runs at the same point of the schedule.

Far below means more than three standard deviations, twice in a row: one validation alone may be chance. The caller
writes the line, prints it and, with budget.on_alarm=stop, ends the run.
"""

from typing import Any

from engine.config.train.train_config import TrainConfig
from engine.knowledge.spread import expected_at
from engine.runs.log_schema import AlarmLine, EpochLine
from engine.train.alarm.causes import Facts, likely_causes

LIMIT = -3.0
"""Standard deviations."""
IN_A_ROW = 2


class Alarm:
    """Notes every validation. A pure function of what it is given and of its state, so all ranks agree.

    `facts`: what only the run knows; the causes are checked against it. With budget.on_alarm=off, without plan.family,
    or for a family that has no accuracy by epoch, `note` never returns a line.
    """

    def __init__(self, config: TrainConfig, facts: Facts | None = None) -> None:
        self.config, self.facts = config, facts or Facts()
        self.last_z: float | None = None
        """Of the last validation that could be compared."""
        self.low = 0
        """Validations in a row that were below the limit."""
        self.steps = 0
        """Optimizer steps so far."""

    @property
    def stops(self) -> bool:
        """Whether an alarm ends the run."""
        return self.config.budget.on_alarm == "stop"

    def note(self, epoch: EpochLine, schedule: float) -> AlarmLine | None:
        """The alarm that this epoch sets off, if any. Call it for each epoch, validated or not.

        `schedule`: share of the schedule that is done (0 to 1). The accuracy compared is the one that is judged: of
        the averaged weights where there are any. One alarm is given until a validation is above the limit again.
        """
        if epoch.images and epoch.global_batch:
            self.steps += epoch.images // epoch.global_batch
        top1 = epoch.top1 if epoch.ema_top1 is None else epoch.ema_top1
        if top1 is None or self.config.budget.on_alarm == "off":
            return None
        length = epoch.length or self.config.training.epochs
        found = expected_at(self.config.plan.family, schedule, length)
        if found is None:
            return None
        expected, spread = found
        self.last_z = (top1 - expected) / spread
        self.low = self.low + 1 if self.last_z < LIMIT else 0
        if self.low != IN_A_ROW:
            return None
        return AlarmLine(
            epoch=epoch.epoch,
            top1=top1,
            expected=expected,
            spread=spread,
            z=self.last_z,
            causes=likely_causes(self.config, self.facts, epoch, self.steps, expected + LIMIT * spread),
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to hold for a resumed run to alarm as if it had never stopped."""
        return {"last_z": self.last_z, "low": self.low, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`'s values."""
        self.last_z, self.low, self.steps = state["last_z"], state["low"], state["steps"]
