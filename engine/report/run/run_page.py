"""The report: one HTML page that needs no other file, drawn from a run's configuration and log."""

from collections.abc import Sequence
from typing import Any

from engine.report import text
from engine.report.drawing.charts import clean
from engine.report.drawing.page import document, figure_card
from engine.report.run import (
    contract_sections,
    evaluation_figures,
    evaluation_tables,
    figures,
    plan_figure,
    replan_figures,
    sections,
)
from engine.report.terminal.summary import plain_measured_as, stage_words, whole_length
from engine.runs.folder import CONFIG, LOG
from engine.runs.log_reader import History, build_history, goal, mean_throughput, waiting_share
from engine.runs.log_schema import LogLine, ResultLine

Tile = tuple[str, str, str]


def render(config: dict[str, Any], lines: Sequence[LogLine]) -> str:
    """The whole page. The same configuration and log give the same page."""
    history = build_history(lines)
    small = "".join(figure_card(figure) for figure in figures.small_figures(history))
    title = f"{' '.join(_headline(history))} · {history.start.name or 'run'}"
    body = [
        _header(history, config),
        contract_sections.alarms(history),
        figure_card(figures.accuracy(history, config)),
        figure_card(plan_figure.plan_and_result(history, config)),
        *_replans(history, config),
        sections.results(history, config),
        *_evaluation(history),
        figure_card(figures.time_spent(history.epochs)),
        sections.limits(history.epochs),
        f'<div class="pair">{small}</div>' if small else "",
        sections.epoch_table(history.epochs),
        sections.weights(history, config),
        sections.settings(config),
        sections.provenance(history),
    ]
    return document(title, body, f"Drawn from {CONFIG} and {LOG} in the run’s folder.")


def _replans(history: History, config: dict[str, Any]) -> list[str]:
    """What budget.adapt changed, drawn and listed."""
    _, limit = goal(config, history.result)
    pair = "".join(figure_card(figure) for figure in replan_figures.replan_figures(history, limit))
    return [f'<div class="pair">{pair}</div>' if pair else "", contract_sections.replans(history)]


def _evaluation(history: History) -> list[str]:
    """What was measured beside the accuracy, of a run that only validated."""
    found = history.result and history.result.evaluation
    if not found:
        return []
    pair = "".join(figure_card(figure) for figure in evaluation_figures.calibration(found))
    return [
        evaluation_tables.reference_card(found),
        figure_card(evaluation_figures.by_class(found)),
        f'<div class="pair">{evaluation_tables.class_card(found)}{evaluation_tables.confusion_card(found)}</div>',
        f'<div class="pair">{pair}</div>' if pair else "",
    ]


def _header(history: History, config: dict[str, Any]) -> str:
    result = history.result
    css, badge = _state(history)
    verdict = result.verdict or "" if result else _progress_words(history)
    verdict = verdict[:1].upper() + verdict[1:]
    tiles = "".join(
        f'<div class="tile"><dt>{clean(name)}</dt><dd>{clean(value)}<small>{clean(detail)}</small></dd></div>'
        for name, value, detail in _tiles(history, config)
    )
    headline = " ".join(f"<span>{clean(piece)}</span>" for piece in _headline(history))
    bar = ""
    if result is None and history.epochs:
        last = history.epochs[-1]
        done, whole = last.epoch, last.length or last.epochs or 1
        bar = f'<progress max="{clean(whole)}" value="{clean(done)}" aria-label="finished epochs"></progress>'
    return (
        f'<header class="card head {css}"><div class="top"><span class="badge">{badge}</span>'
        f'<span class="soft">{clean(_subject(history, config))}</span></div>'
        f"<h1>{headline}</h1>"
        f'<p class="soft">{clean(verdict)}</p>{bar}<dl class="tiles">{tiles}</dl></header>'
    )


def _state(history: History) -> tuple[str, str]:
    """Colour and badge: how it stands with the target."""
    if history.result is None:
        return "", "Not finished"
    met = history.result.met
    if met is None:
        return "", "No target set"
    if history.result.target_top1 is None:
        return ("good", "Time limit kept") if met else ("bad", "Time limit missed")
    return ("good", "Target met") if met else ("bad", "Target missed")


def _headline(history: History) -> list[str]:
    """What came out, in pieces that a line should not break in two."""
    result = history.result
    if result is not None:
        took = [f"in {text.duration(result.elapsed_seconds)}"] if history.epochs else []
        return [f"{text.percent(result.top1)} top-1", *took]
    if not history.epochs:
        return ["No epoch", "finished yet"]
    last = history.epochs[-1]
    top1 = [f"{text.percent(last.top1)} top-1"] if last.top1 is not None else []
    return [f"Epoch {last.epoch} of {whole_length(last)}{':' if top1 else ''}", *top1]


def _progress_words(history: History) -> str:
    last = history.epochs[-1] if history.epochs else history.start
    return f"As of {text.moment(last.time)}. Reload this page to follow the run."


def _subject(history: History, config: dict[str, Any]) -> str:
    start = history.start
    words = [
        start.recipe or "run",
        start.arch or str(config.get("model", {}).get("arch") or "?"),
    ]
    words += stage_words(start)
    if start.num_train:
        words.append(f"{text.count(start.num_train)} training images")
    if start.num_classes:
        words.append(f"{text.count(start.num_classes)} classes")
    return " · ".join(words)


def _tiles(history: History, config: dict[str, Any]) -> list[Tile]:
    result = history.result
    tiles = [*_goal_tiles(history, config)]
    if result:
        how = plain_measured_as(result)
        tiles.append(("Plain top-1", text.percent(result.plain_top1), how))
        if result.target_top1 is None:
            tiles.append(("Top-5", text.percent(result.top5), "as the recipe validates"))
    tiles += contract_sections.tiles(history, config.get("budget", {}).get("price"))
    if history.epochs:
        rate = f"{text.rate(mean_throughput(history.epochs))} img/s"
        tiles.append(("Throughput", rate, "mean over training"))
        waiting = text.percent(waiting_share(history.epochs), 1)
        tiles.append(("Waiting for data", waiting, "of the training time"))
    return tiles


def _goal_tiles(history: History, config: dict[str, Any]) -> list[Tile]:
    target, limit = goal(config, history.result)
    tiles, result = [], history.result or ResultLine()
    if target:
        top1 = result.top1
        points = abs(100 * (top1 - target)) if top1 is not None else 0
        side = "above" if top1 is not None and top1 >= target else "short"
        detail = f"{points:.2f} points {side}" if top1 is not None else "top-1"
        tiles.append(("Target", text.percent(target), detail))
    # A run that only validated has no training time to judge.
    if limit and (history.epochs or history.result is None):
        took = result.elapsed_seconds
        detail = "for the whole run"
        if took is not None:
            detail = f"{text.duration(abs(limit - took))} {'to spare' if took <= limit else 'late'}"
        tiles.append(("Budget", text.duration(limit), detail))
    return tiles
