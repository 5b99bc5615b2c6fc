"""Target and budget -> verdict. Measured figures in, one sentence out; nothing is assumed."""

from dataclasses import dataclass

from engine.config.train.train_config import BudgetConfig


@dataclass(frozen=True)
class Verdict:
    """met is None where no target was set; the sentence says what was measured against what."""

    met: bool | None
    sentence: str

    @property
    def exit_code(self) -> int:
        return 1 if self.met is False else 0


def judge(budget: BudgetConfig, top1: float, elapsed_seconds: float, of: str = "") -> Verdict:
    """Compare the measured top-1 (a share) and training time with what the recipe promised.

    `of` qualifies the figure, as in "of the averaged weights".
    """
    measured = f"{top1:.2%} top-1{of and ' '}{of}"
    if elapsed_seconds:
        measured += f" in {describe_seconds(elapsed_seconds)}"
    if not budget.target_top1:
        return Verdict(None, f"{measured}; no target was set")
    promised = f"{budget.target_top1:.2%}"
    in_time = True
    if budget.seconds:
        in_time = elapsed_seconds <= budget.seconds
        promised += f" within {describe_seconds(budget.seconds)}"
    met = top1 >= budget.target_top1 and in_time
    failings = [] if top1 >= budget.target_top1 else [f"{budget.target_top1 - top1:.2%} short"]
    if not in_time:
        failings.append(f"{describe_seconds(elapsed_seconds - budget.seconds)} late")
    outcome = "target met" if met else f"target missed, {' and '.join(failings)}"
    return Verdict(met, f"{outcome}: {measured} (target {promised})")


def describe_seconds(seconds: float) -> str:
    """45.3 s, 2 min 05 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
