"""Records of the contract stage, a budget each, as a page: time and accuracy, predicted and reached."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from benchmarks.records.layouts import Record

ON_TIME = 0.05
"""A run is on time when it ends within this share of its budget, before or after."""
SHARE_INSIDE = 5 / 6
"""Of 90% intervals about nine in ten hold what they predict; of six runs, one may miss."""
MOST_BELOW = 0.015
"""No accuracy may lie further below the middle of its prediction (a share)."""


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def _interval(prediction: Record | None) -> str:
    if prediction is None:
        return "none"
    return f"{_percent(prediction['top1'])} [{_percent(prediction['low'])}, {_percent(prediction['high'])}]"


def _disturbed(record: Record) -> str:
    facts = record["disturbance"]
    if facts is None:
        return "no"
    return f"{100 * facts['share_taken']:.0f}% for {facts['seconds']:.0f} s"


def _epochs(record: Record) -> str:
    planned, trained = record["planned_epochs"], record["epochs_trained"]
    return f"{planned:.4g} -> {trained:.4g}"


_COLUMNS: dict[str, Callable[[Record], str]] = {
    "recipe": lambda r: str(r["recipe"]).rpartition("/")[2].removesuffix(".yaml"),
    "budget min": lambda r: f"{r['budget_minutes']:g}",
    "CPU taken": _disturbed,
    "reached min": lambda r: f"{r['wall_seconds'] / 60:.2f}",
    "off by": lambda r: f"{100 * r['deviation']:+.1f}%",
    "epochs": _epochs,
    "re-plans": lambda r: str(len(r["replans"])),
    "predicted before": lambda r: _interval(r["predicted"]),
    "after the last re-plan": lambda r: _interval(r["repredicted"]),
    "top-1": lambda r: _percent(r["top1"]),
    "inside": lambda r: "yes" if r["inside"] else "no",
}

_EXPLANATION = (
    "Each line: a budget, planned on this machine in at most 20 s and then trained once with budget.adapt. reached "
    "min: minutes from the start of the process to its exit. off by: how much later (+) or earlier (-) than the "
    "budget. CPU taken: share of the cores that competing processes took on purpose, and for how long. epochs: planned "
    "before the run -> trained. predicted: top-1 with its 90% interval for one new run. inside: whether top-1 lies in "
    "the last one predicted, that after the last re-plan where there was one."
)


def table(records: Sequence[Record]) -> str:
    """A line for each budget, columns aligned."""
    rows = [tuple(_COLUMNS), *(tuple(cell(record) for cell in _COLUMNS.values()) for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def findings(records: Sequence[Record]) -> list[str]:
    """What was shown, in three sentences."""
    on_time = sum(abs(record["deviation"]) <= ON_TIME for record in records)
    inside = sum(record["inside"] for record in records)
    worst = min(_distance(record) for record in records)
    place = "below" if worst < 0 else "above"
    return [
        f"{on_time} of {len(records)} runs ended within {ON_TIME:.0%} of their budget.",
        f"{inside} of {len(records)} accuracies lie in their predicted 90% interval.",
        f"The lowest, compared with its prediction, lies {100 * abs(worst):.2f} points {place} the middle.",
    ]


def is_kept(records: Sequence[Record]) -> bool:
    """Whether all ended on time, enough accuracies lie in their intervals, and none lies far below its own."""
    return (
        all(abs(record["deviation"]) <= ON_TIME for record in records)
        and sum(record["inside"] for record in records) >= SHARE_INSIDE * len(records)
        and all(_distance(record) >= -MOST_BELOW for record in records)
    )


def last_prediction(record: Record) -> Record | None:
    """Top-1 and its interval (shares) after the last re-plan, or before the run; None where nothing was predicted."""
    found: Record | None = record["repredicted"] or record["predicted"]
    return found


def page(records: Sequence[Record]) -> str:
    """The table and what it shows, with all that it takes to repeat the runs."""
    first = records[0]
    facts = [
        f"machine: {_joined(first['machine'])}",
        f"versions: {_joined(first['versions'])}",
        *(f"revision: {revision}" for revision in _different(records, "revision")),
        f"started: {', '.join(record['started'] for record in records)}",
        *(f"data: {data}" for data in _different(records, "data")),
        *(f"measured: {how}" for how in _different(records, "measured")),
        *(f"family: {family}" for family in _different(records, "family")),
        f"load before each run (1, 5, 15 minutes): {'; '.join(_load(record) for record in records)}",
    ]
    commands = "\n".join(record["command"] for record in records)
    sections = [
        f"# contract, {len(records)} budgets",
        table(records),
        "\n".join(findings(records)),
        textwrap.fill(_EXPLANATION, 110),
        "\n".join(f"- {fact}" for fact in facts),
        f"The runs, each by its own plan.yaml:\n\n```\n{commands}\n```",
        *(_run_section(record) for record in records),
    ]
    return "\n\n".join(sections) + "\n"


def _run_section(record: Record) -> str:
    """The plan of one run and its re-plans with their reasons."""
    lines = [f"## {_COLUMNS['recipe'](record)}, {record['budget_minutes']:g} minutes", ""]
    for replan in record["replans"]:
        at, length, reason = replan["at"], replan["length"], replan["reason"]
        lines.append(f"- after {at:.4g} epochs: {length:.4g} epochs in all: {reason}")
    lines += [] if record["replans"] else ["No re-plan."]
    plan = yaml.safe_dump(record["plan"], sort_keys=False, allow_unicode=True)
    return "\n".join([*lines, "", f"```yaml\n{plan}```"])


def _distance(record: Record) -> float:
    """Top-1 minus the middle of its prediction, as a share; 0 where nothing was predicted."""
    predicted = last_prediction(record)
    return 0.0 if predicted is None else float(record["top1"] - predicted["top1"])


def _load(record: Record) -> str:
    return " ".join(f"{value:.2f}" for value in record["load"]["average_before"])


def _joined(facts: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items() if value)


def _different(records: Sequence[Record], key: str) -> list[str]:
    """The values of `key`, each once."""
    return list(dict.fromkeys(str(record[key]) for record in records))
