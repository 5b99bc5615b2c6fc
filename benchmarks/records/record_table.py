"""Records as tables, for a terminal and as Markdown, and as a page with all that it takes to repeat them."""

import textwrap
from collections.abc import Sequence

from benchmarks.records.layouts import LAYOUTS, Layout, Record


def table(records: Sequence[Record]) -> str:
    """One line for each comparison, columns aligned; all records are of one stage."""
    layout = LAYOUTS[records[0]["stage"]]
    head = ("ours", "peer", *layout.what, *_value_heads(layout), *layout.more)
    rows = [head, *(tuple(map(_cell, _row(record, layout))) for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def page(records: Sequence[Record]) -> str:
    """Each stage's table, with all that it takes to repeat the measurement."""
    stages = dict.fromkeys(record["stage"] for record in records)
    return "\n".join(_page([record for record in records if record["stage"] == stage]) for stage in stages)


def _page(records: Sequence[Record]) -> str:
    first = records[0]
    machine = ", ".join(f"{key} {value}" for key, value in first["machine"].items() if value)
    versions = ", ".join(f"{key} {value}" for key, value in first["versions"].items())
    data = [record[key] for record in records for key in ("data", "peer_data") if record.get(key)]
    forms = [
        f"batches of {record['batch']}, {record['ours']}: {record['form']}"
        for record in records
        if "batch" in record
    ]
    facts = [
        f"machine: {machine}",
        f"versions: {versions}",
        f"revision: {first['revision']}",
        f"started: {first['started']}",
        *(f"data: {identity}" for identity in dict.fromkeys(data)),
        *dict.fromkeys(forms),
        *(f"{name}: {how}" for name, how in _settings(records).items()),
        f"{first.get('turns', 'in turns, each side in a process of its own pinned to the cores')}; "
        f"{max(record['n'] for record in records)} rounds of each",
    ]
    body = "\n".join(f"- {fact}" for fact in facts)
    explanation = textwrap.fill(LAYOUTS[first["stage"]].explanation, 110)
    return f"# {first['stage']}, {first['device']}\n\n{table(records)}\n\n{explanation}\n\n{body}\n"


def _value_heads(layout: Layout) -> tuple[str, ...]:
    return ("ratio [low, high]", f"ours {layout.unit}", f"peer {layout.unit}")


def _settings(records: Sequence[Record]) -> dict[str, str]:
    found: dict[str, str] = {}
    for record in records:
        for side in ("ours", "peer"):
            if f"{side}_settings" in record:
                found[record[side]] = record[f"{side}_settings"]
    return found


def _cell(text: str) -> str:
    # In Markdown a bar ends a cell.
    return text.replace("|", "\\|")


def _row(record: Record, layout: Layout) -> tuple[str, ...]:
    if record.get("whole_stage"):
        # No other facts are known.
        blank = [""] * (len(layout.what) + len(layout.more))
        ended = "not run" if record["not_run"] else "failed"
        return (record["ours"], record["peer"], f"{ended}: {record['failed']}", "", "", *blank)
    who = (record["ours"], record["peer"], *(cell(record) for cell in layout.what.values()))
    if record.get("error"):
        return (*who, f"failed: {record['error']}", "", "", *[""] * len(layout.more))
    ratio = record["ratio"]
    return (
        *who,
        f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]",
        _values(record["ours_median"], record["ours_rounds"], layout.digits),
        _values(record["peer_median"], record["peer_rounds"], layout.digits),
        *(cell(record) for cell in layout.more.values()),
    )


def _values(median: float, rounds: Sequence[float], digits: int) -> str:
    return f"{median:,.{digits}f} ({min(rounds):,.{digits}f} to {max(rounds):,.{digits}f})"
