"""The options of section `plan`: what `python -m engine plan` predicted for a run, written by it into plan.yaml."""

from dataclasses import dataclass

from engine.config.options import option
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """What was predicted for this run. It is reported beside what the run reaches.

    With budget.adapt the pace is the first guess of how long each resolution takes, until the run has measured it.
    """

    family: str = option(
        "",
        "family of runs whose accuracy by epochs is known, for predictions and alarms (`python -m engine plan "
        "--families` lists them); empty = none",
    )
    minutes: float = option(0.0, "predicted time of the run; 0 = not predicted", unit="minutes", low=0)
    minutes_low: float = option(0.0, "lower end of the 90% interval of plan.minutes", unit="minutes", low=0)
    minutes_high: float = option(0.0, "upper end of the 90% interval of plan.minutes", unit="minutes", low=0)
    pace: str = option(
        "",
        "images per second of the whole machine by training resolution, as a list such as 160:21000, 192:15600; empty "
        "= not known",
    )
    validation_seconds: float = option(
        0.0, "predicted time of one validation; 0 = not known", unit="seconds", low=0
    )
    finish_seconds: float = option(
        0.0,
        "predicted time from the last epoch's validation to the end; 0 = not known",
        unit="seconds",
        low=0,
    )
    machine: str = option("", "the machine that the prediction is for, and where its speed is from")

    def pace_list(self) -> list[tuple[int, float]]:
        """(resolution in pixels, images per second), by resolution. Raises UserError for text that can't be read."""
        found = {}
        for part in self.pace.split(",") if self.pace else ():
            side, _, rate = part.strip().partition(":")
            try:
                pair = int(side), float(rate)
            except ValueError:
                pair = 0, 0.0
            if pair[0] < 8 or not 0 < pair[1] < float("inf"):
                raise UserError(
                    f"plan.pace: can't read {part.strip()!r}: write resolution:images-per-second, as in 160:21000"
                )
            found[pair[0]] = pair[1]
        return sorted(found.items())


def check_plan(plan: PlanConfig) -> None:
    """Raises UserError for a pace that can't be read."""
    plan.pace_list()
