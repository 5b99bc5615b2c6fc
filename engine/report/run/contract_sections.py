"""The report's text parts about the contract: predicted against reached, re-plans with their reasons, alarms."""

from engine.report import text
from engine.report.contract_words import Compared, alarm_sentence, comparisons, length
from engine.report.drawing.charts import clean
from engine.report.run.sections import card
from engine.runs.log_reader import History
from engine.runs.log_schema import ReplanLine, ResultLine

Tile = tuple[str, str, str]


def tiles(history: History, price: float | None) -> list[Tile]:
    """For the head of the page: predictions beside what came out, time to target, cost."""
    result = history.result or ResultLine()
    found = [(f"Predicted {one.what}", one.predicted, _beside(one)) for one in comparisons(history)]
    if result.time_to_target_seconds is not None:
        took = text.duration(result.time_to_target_seconds)
        found.append(("Time to target", took, "from the first image read"))
    if result.cost is not None:
        detail = f"at {price:g} per hour" if price else "as priced"
        found.append(("Cost", f"{result.cost:.2f}", detail))
    return found


def _beside(one: Compared) -> str:
    return "; ".join(filter(None, (one.interval, one.outcome))) or "no interval known"


def alarms(history: History) -> str:
    """A box for each time the accuracy was far below the family's; nothing where it was not."""
    boxes = ""
    for alarm in history.alarms:
        causes = "".join(f"<li>{clean(cause)}</li>" for cause in alarm.causes or [])
        listed = (
            f'<p class="soft more">Likely causes, the likeliest first:</p><ol>{causes}</ol>' if causes else ""
        )
        boxes += f"<p>In {clean(alarm_sentence(alarm))}.</p>{listed}"
    if not boxes:
        return ""
    return f'<section class="card alarm"><h2>Warning: accuracy far below other runs</h2>{boxes}</section>'


def replans(history: History) -> str:
    """A row for each change of the run's length, with the reason; nothing where there was none."""
    if not history.replans:
        return ""
    heads = (
        ("clock", ""),
        ("epochs", "done"),
        ("epochs in all", "before"),
        ("epochs in all", "from then on"),
        ("late", "without it"),
        ("end", "predicted"),
        ("top-1", "predicted"),
        ("validations", "left"),
    )
    head = "".join(f'<th scope="col">{name}<br>{unit}</th>' for name, unit in heads)
    body = "".join(_row(one, len(heads)) for one in history.replans)
    table = (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table of re-plans">'
        f'<table class="replans"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    return card("Re-plans", table)


def _row(replan: ReplanLine, columns: int) -> str:
    low, high = replan.predicted_top1_low, replan.predicted_top1_high
    interval = (
        f" [{text.percent(low)} to {text.percent(high)}]" if low is not None and high is not None else ""
    )
    late = replan.late_seconds
    cells = (
        text.clock(replan.elapsed_seconds),
        length(replan.at),
        length(replan.length_before),
        length(replan.length),
        text.MISSING if late is None else f"{text.clock(abs(late))}{' early' if late < 0 else ''}",
        text.clock(replan.predicted_seconds),
        f"{text.percent(replan.predicted_top1)}{interval}",
        {"all": "all", "last": "the last one"}.get(str(replan.validations), text.MISSING),
    )
    row = "".join(f"<td>{clean(cell)}</td>" for cell in cells)
    reason = (
        f'<tr class="reason"><td colspan="{columns}">{clean(replan.reason)}</td></tr>'
        if replan.reason
        else ""
    )
    return f"<tr>{row}</tr>{reason}"
