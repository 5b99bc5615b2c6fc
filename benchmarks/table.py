"""Records as a table that reads well in a terminal and in Markdown."""

from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]

_HEAD = (
    *("ours", "peer", "px", "scale", "cores", "ratio [low, high]", "ours img/s", "peer img/s"),
    *("ours ms/img", "peer ms/img", "pixels differ", "other load"),
)
_EXPLANATION = """\
ratio: ours / peer's images per second, the median of paired rounds and the interval that holds it with at
least 90% confidence; above 1 ours is faster. ms/img: CPU time of all threads. pixels differ: mean absolute
difference on the same centre crops, in levels of 0 to 255. other load: the most cores that anything else kept
busy during a round."""


def table(records: Sequence[Record]) -> str:
    """One line for each comparison, columns aligned."""
    rows = [_HEAD, *(_row(record) for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def page(records: Sequence[Record]) -> str:
    """The table with all that it takes to repeat it."""
    first = records[0]
    machine = ", ".join(f"{key} {value}" for key, value in first["machine"].items() if value)
    versions = ", ".join(f"{key} {value}" for key, value in first["versions"].items())
    facts = [
        f"machine: {machine}",
        f"versions: {versions}",
        f"revision: {first['revision']}",
        f"started: {first['started']}",
        *(f"data: {data}" for data in dict.fromkeys(record["data"] for record in records)),
        f"batches of {first['batch']} as {first['form']}; cache {first['cache']}",
        *(f"{name}: {how}" for name, how in _settings(records).items()),
        "in turns, each side in a process of its own pinned to the cores, after a warm-up; "
        f"{max(record['n'] for record in records)} rounds of each",
    ]
    body = "\n".join(f"- {fact}" for fact in facts)
    return f"# {first['stage']}, {first['device']}\n\n{table(records)}\n\n{_EXPLANATION}\n\n{body}\n"


def _settings(records: Sequence[Record]) -> dict[str, str]:
    found: dict[str, str] = {}
    for record in records:
        if not record.get("error"):
            found |= {record["ours"]: record["ours_settings"], record["peer"]: record["peer_settings"]}
    return found


def _row(record: Record) -> tuple[str, ...]:
    low, high = record["scale"]
    what = (
        record["ours"],
        record["peer"],
        str(record["resolution"]),
        f"{low:g}-{high:g}",
        str(record["cores"]),
    )
    if record.get("error"):
        return (*what, f"failed: {record['error']}", *[""] * (len(_HEAD) - len(what) - 1))
    ratio = record["ratio"]
    return (
        *what,
        f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]",
        _rate(record["ours_median"], record["ours_rounds"]),
        _rate(record["peer_median"], record["peer_rounds"]),
        f"{record['ours_cpu_ms_per_image']:.2f}",
        f"{record['peer_cpu_ms_per_image']:.2f}",
        f"{record['pixel_difference']:.2f}" + ("" if record["labels_equal"] else ", labels too"),
        f"{record['other_cores']:.2f}",
    )


def _rate(median: float, rounds: Sequence[float]) -> str:
    return f"{median:,.0f} ({min(rounds):,.0f} to {max(rounds):,.0f})"
