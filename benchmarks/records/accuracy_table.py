"""Records of the accuracy stage, a seed each, as a page: accuracies and times, their mean and spread."""

import statistics
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from benchmarks.records.layouts import Record

# head -> (key, how it is written)
_COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "top-1, no TTA": ("top1_no_tta", lambda share: f"{100 * share:.2f}%"),
    "top-1, flip TTA": ("top1_tta", lambda share: f"{100 * share:.2f}%"),
    "last weights, no TTA": ("last_top1_no_tta", lambda share: f"{100 * share:.2f}%"),
    "last weights, TTA": ("last_top1_tta", lambda share: f"{100 * share:.2f}%"),
    "training min": ("train_minutes", lambda minutes: f"{minutes:.2f}"),
    "in all": ("minutes", lambda minutes: f"{minutes:.2f}"),
    "compiling s": ("compile_seconds", lambda seconds: f"{seconds:.1f}"),
    "img/s": ("images_per_second", lambda rate: f"{rate:,.0f}"),
}

_EXPLANATION = (
    "mean ± standard deviation over the seeds (of the sample, n - 1). top-1: of the weights that the recipe is about, "
    "which are their moving average where it keeps one; last weights: the others then. flip TTA: the probabilities of "
    "the image and its mirror image are averaged. training min: minutes in training epochs; in all: with validation at "
    "the end and with compiling, which is given apart too."
)


def page(records: Sequence[Record]) -> str:
    """The table of one recipe's records, with all that it takes to repeat it."""
    ordered = sorted(records, key=lambda record: record["seed"])
    first = ordered[0]
    facts = [
        f"machine: {_joined(first['machine'])}",
        f"versions: {_joined(first['versions'])}",
        *(f"revision: {revision}" for revision in _different(ordered, "revision")),
        f"started: {', '.join(record['started'] for record in ordered)}",
        *(f"data: {data}" for data in _different(ordered, "data")),
        *(f"measured: {how}" for how in _different(ordered, "measured")),
        f"device: {first['device']}, {first['precision']}; {len(first['epochs'])} epochs",
    ]
    body = "\n".join(f"- {fact}" for fact in facts)
    config = yaml.safe_dump(first["config"], sort_keys=False, allow_unicode=True)
    return (
        f"# accuracy, {first['recipe']}, {len(ordered)} seeds\n\n{table(ordered)}\n\n"
        f"{textwrap.fill(_EXPLANATION, 110)}\n\n{body}\n\n"
        f"The resolved configuration of seed {first['seed']}:\n\n```yaml\n{config}```\n"
    )


def table(records: Sequence[Record]) -> str:
    """A line for each seed, and their mean and spread where there are several; columns aligned."""
    columns = {
        head: (key, form)
        for head, (key, form) in _COLUMNS.items()
        if all(record[key] is not None for record in records)
    }
    rows = [("seed", *columns)]
    for record in records:
        rows.append((str(record["seed"]), *(form(record[key]) for key, form in columns.values())))
    if len(records) > 1:
        rows.append(("mean ± s.d.", *(_spread(records, key, form) for key, form in columns.values())))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _spread(records: Sequence[Record], key: str, form: Callable[[float], str]) -> str:
    values = [record[key] for record in records]
    return f"{form(statistics.mean(values))} ± {form(statistics.stdev(values))}"


def _joined(facts: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items() if value)


def _different(records: Sequence[Record], key: str) -> list[str]:
    """The values of `key`, each once."""
    return list(dict.fromkeys(record[key] for record in records))
