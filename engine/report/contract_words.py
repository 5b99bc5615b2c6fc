"""How a run stands with its predictions and its time limit, in words: for the terminal and for the page.

Figures come from the log: what was predicted before the run (start line), what each re-plan predicted, what was
reached (result line).
"""

from dataclasses import dataclass

from engine.report import text
from engine.runs.log_reader import History
from engine.runs.log_schema import AlarmLine, ReplanLine, ResultLine, StartLine


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A prediction with its 90% interval in words, beside what came out."""

    what: str
    predicted: str
    interval: str
    came: str
    """What came out, such as "took 12 min"; empty before the run's end."""
    inside: bool | None

    @property
    def outcome(self) -> str:
        """What came out of it, and whether that lies in the interval; empty before the run's end."""
        where = {True: ", inside", False: ", outside", None: ""}[self.inside]
        return f"{self.came}{where}"


def judged_top1(result: ResultLine) -> float | None:
    """The accuracy that the verdict is about: of the averaged weights where they are kept."""
    return result.ema_top1 if result.ema_top1 is not None else result.top1


def comparisons(history: History) -> list[Compared]:
    """Accuracy and time as predicted before the run, and accuracy as the last re-plan predicted it."""
    start, result = history.start, history.result or ResultLine()
    top1, seconds = judged_top1(result), result.elapsed_seconds
    found = [
        _top1("top-1", start.predicted_top1, start.predicted_top1_low, start.predicted_top1_high, top1),
        _time(start, seconds, steered=bool(history.replans)),
    ]
    last = next((one for one in reversed(history.replans) if one.predicted_top1 is not None), None)
    if last is not None:
        interval = (last.predicted_top1, last.predicted_top1_low, last.predicted_top1_high)
        found.append(_top1("top-1, re-planned", *interval, top1))
    return [one for one in found if one is not None]


def _top1(
    what: str, middle: float | None, low: float | None, high: float | None, reached: float | None
) -> Compared | None:
    if middle is None:
        return None
    known = low is not None and high is not None
    return Compared(
        what=what,
        predicted=text.percent(middle),
        interval=f"{text.percent(low)} to {text.percent(high)}" if known else "",
        came="" if reached is None else f"reached {text.percent(reached)}",
        inside=_inside(low, high, reached),
    )


def _time(start: StartLine, took: float | None, *, steered: bool) -> Compared | None:
    """A run that was re-planned used its time limit on purpose: it is held against that, by the verdict."""
    low, high = start.predicted_seconds_low, start.predicted_seconds_high
    if not start.predicted_seconds:
        return None
    return Compared(
        what="time",
        predicted=text.duration(start.predicted_seconds),
        interval=f"{text.duration(low)} to {text.duration(high)}" if low and high else "",
        came=f"took {text.duration(took)}" if took else "",
        inside=_inside(low, high, took) if low and high and not steered else None,
    )


def _inside(low: float | None, high: float | None, value: float | None) -> bool | None:
    return None if low is None or high is None or value is None else low <= value <= high


def epochs_words(value: float | None) -> str:
    """14.2 -> "14.2 epochs"; whole numbers without a fraction."""
    return f"{length(value)} epoch{'' if value == 1 else 's'}"


def length(value: float | None) -> str:
    """A number of epochs, with two decimals at most."""
    return text.MISSING if value is None else f"{round(value, 2):g}"


def replan_line(replan: ReplanLine) -> str:
    """A change of the run's length in one line for the terminal."""
    before = f"{length(replan.length_before)} to " if replan.length_before is not None else ""
    parts = [f"re-plan after {epochs_words(replan.at)}: {before}{epochs_words(replan.length)}"]
    if replan.reason:
        parts.append(replan.reason)
    expected = []
    if replan.predicted_seconds is not None:
        expected.append(f"ends after {text.duration(replan.predicted_seconds)}")
    if replan.predicted_top1 is not None:
        low, high = replan.predicted_top1_low, replan.predicted_top1_high
        interval = (
            f" [{text.percent(low)} to {text.percent(high)}]" if low is not None and high is not None else ""
        )
        expected.append(f"top-1 {text.percent(replan.predicted_top1)}{interval}")
    if expected:
        parts.append(f"now predicted: {', '.join(expected)}")
    if replan.validations == "last":
        parts.append("only the last validation is left")
    return "; ".join(parts)


def alarm_sentence(alarm: AlarmLine) -> str:
    """What is wrong, without the causes."""
    spread = f" ± {100 * alarm.spread:.2f}" if alarm.spread is not None else ""
    z = f" (z = {alarm.z:.1f})" if alarm.z is not None else ""
    return (
        f"epoch {alarm.epoch}: top-1 {text.percent(alarm.top1)}, where runs of this family have "
        f"{text.percent(alarm.expected)}{spread} at this point{z}"
    )


def alarm_line(alarm: AlarmLine) -> str:
    """An alarm in one line for the terminal, the likely causes in order."""
    causes = "; ".join(f"{number}. {cause}" for number, cause in enumerate(alarm.causes or [], start=1))
    return alarm_sentence(alarm) + (f". Likely causes: {causes}" if causes else "")


def contract_rows(history: History, price: float | None) -> list[tuple[str, str]]:
    """Predictions against what came out, re-plans, time to target and cost, as (name, value); none of old logs."""
    rows = []
    for one in comparisons(history):
        outcome = f": {one.outcome}" if one.outcome else ""
        interval = f" [{one.interval}]" if one.interval else ""
        rows.append(("predicted", f"{one.what} {one.predicted}{interval}{outcome}"))
    if history.replans:
        first, last = history.replans[0], history.replans[-1]
        times = len(history.replans)
        before = f"{length(first.length_before)} to " if first.length_before is not None else ""
        rows.append(
            ("re-planned", f"{times} time{'s' if times > 1 else ''}: {before}{epochs_words(last.length)}")
        )
    result = history.result or ResultLine()
    if result.time_to_target_seconds is not None:
        took = text.duration(result.time_to_target_seconds)
        rows.append(("to target", f"{took} from the first training image, as MLPerf counts"))
    if result.cost is not None:
        rows.append(("cost", f"{result.cost:.2f}{f' at {price:g} per hour' if price else ''}"))
    if history.alarms:
        alarm = history.alarms[-1]
        rows.append(("warning", alarm_sentence(alarm)))
    return rows
