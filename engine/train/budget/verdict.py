"""Target and time limit -> verdict. Measured figures in, one sentence out; nothing is assumed."""

from dataclasses import dataclass

from engine.config.train.train_config import BudgetConfig

_FAR = 0.01
"""A difference in top-1 (a share) between the weights and their average that the verdict names."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was measured against what was asked for, in a sentence; each of the three is None where nothing was asked.

    `reached`: the accuracy is at least the target. `in_time`: the time limit was kept. `met`: all that was asked for.
    """

    met: bool | None
    sentence: str
    reached: bool | None = None
    in_time: bool | None = None

    @property
    def exit_code(self) -> int:
        return 1 if self.met is False else 0


def judge(
    budget: BudgetConfig,
    top1: float,
    elapsed_seconds: float,
    of: str = "",
    *,
    saved_seconds: float | None = None,
) -> Verdict:
    """Compare the measured top-1 (a share) and the time of the run with the target and the time limit.

    Without budget.adapt the limit is kept to the second; with it a run that is over by no more than budget.margin has
    kept it, since that is how closely it was steered. `of` qualifies the accuracy, as in "of the averaged weights";
    `saved_seconds`: what ending at the target saved (budget.stop_at_target). An `elapsed_seconds` of 0 is that of a
    run that trained nothing, which has no time to judge.
    """
    measured = f"{top1:.2%} top-1{of and ' '}{of}"
    if elapsed_seconds:
        measured += f" in {describe_seconds(elapsed_seconds)}"
    if saved_seconds:
        measured += f", ended at the target: about {describe_seconds(saved_seconds)} saved"
    reached = top1 >= budget.target_top1 if budget.target_top1 else None
    in_time = _in_time(budget, elapsed_seconds) if budget.seconds and elapsed_seconds else None
    asked = [one for one in (reached, in_time) if one is not None]
    if not asked:
        return Verdict(met=None, sentence=f"{measured}; no target was set")
    met = all(asked)
    if reached is None:
        outcome = "time limit kept" if met else "time limit missed"
    else:
        outcome = "target met" if met else "target missed"
    details = [
        *([_target_words(budget, top1)] if reached is not None else []),
        *([_limit_words(budget, elapsed_seconds)] if in_time is not None else []),
    ]
    return Verdict(
        met=met, sentence=f"{outcome}: {measured} ({'; '.join(details)})", reached=reached, in_time=in_time
    )


def averaged_words(top1: float, bare: float) -> str:
    """`of` for the averaged weights' top-1; it names that of the weights themselves (`bare`) if that is far above."""
    far = bare - top1 >= _FAR
    return "of the averaged weights" + (f" ({bare:.2%} of the weights themselves)" if far else "")


def _in_time(budget: BudgetConfig, elapsed_seconds: float) -> bool:
    return elapsed_seconds <= budget.seconds * (1 + (budget.margin if budget.adapt else 0.0))


def _target_words(budget: BudgetConfig, top1: float) -> str:
    short = 100 * (budget.target_top1 - top1)
    how = f"missed by {short:.2f} points" if short > 0 else "reached"
    return f"target {budget.target_top1:.2%} {how}"


def _limit_words(budget: BudgetConfig, elapsed_seconds: float) -> str:
    limit, late = f"time limit {describe_seconds(budget.seconds)}", elapsed_seconds - budget.seconds
    if late <= 0:
        return f"{limit} kept"
    if _in_time(budget, elapsed_seconds):
        return f"{limit} kept: {describe_seconds(late)} over, within budget.margin ({budget.margin:.1%})"
    return f"{limit} missed by {describe_seconds(late)}"


def describe_seconds(seconds: float) -> str:
    """45.3 s, 2 min 05 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
