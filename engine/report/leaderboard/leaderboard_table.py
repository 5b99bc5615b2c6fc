"""The leaderboard as tables: for the terminal and for a page, measured runs and published points apart."""

from collections.abc import Callable, Sequence

from engine.report import text
from engine.report.contract_words import length
from engine.report.drawing.charts import clean
from engine.report.leaderboard.leaderboard_entries import Entry, on_the_frontier

MEASURED = "measured by this project"
PUBLISHED = "published by others, not measured by this project"
_MARK = "*"
FRONTIER_NOTE = f"{_MARK} no other entry of this table is both faster and more accurate"

_GAP = "  "
_LONGEST = 46

_COLUMNS: tuple[tuple[str, Callable[[Entry], str]], ...] = (
    ("top-1", lambda e: top1_words(e)),
    ("runs", lambda e: str(e.runs)),
    ("time", lambda e: text.duration(e.seconds)),
    ("to target", lambda e: _target(e)),
    ("cost", lambda e: text.number(e.cost, 2)),
    ("epochs", lambda e: length(e.epochs)),
    ("recipe", lambda e: e.name),
    ("network", lambda e: e.network),
    ("machine", lambda e: e.machine),
    ("conditions, notes", lambda e: e.how or text.MISSING),
)
_FIGURES = {"top-1", "runs", "time", "to target", "cost", "epochs"}


def top1_words(entry: Entry) -> str:
    """The accuracy, with the spread between runs where there is one."""
    spread = f" ± {100 * entry.top1_sd:.2f}" if entry.top1_sd is not None else ""
    return f"{text.percent(entry.top1)}{spread}"


def _target(entry: Entry) -> str:
    if entry.target is None:
        return text.MISSING
    target = text.percent(entry.target)
    if entry.to_target_seconds is not None:
        return f"{target} in {text.duration(entry.to_target_seconds)}"
    if not entry.reached:
        return f"{target} not reached"
    return f"{target} reached" + (f" by {entry.reached}" if entry.reached < entry.runs else "")


def by_data(entries: Sequence[Entry]) -> list[tuple[str, str, list[Entry]]]:
    """(data set, whose, entries) for each table, in order; the measured ones of a data set first."""
    tables = []
    for data in dict.fromkeys(entry.data for entry in sorted(entries, key=lambda one: one.data)):
        for whose, published in ((MEASURED, False), (PUBLISHED, True)):
            having = [one for one in entries if one.data == data and one.published is published]
            if having:
                tables.append((data, whose, having))
    return tables


def terminal_tables(entries: Sequence[Entry]) -> str:
    """All tables for the terminal, one below the other."""
    blocks = []
    for data, whose, having in by_data(entries):
        lines = [f"{data}, {whose}", *_lines(having)]
        blocks.append("\n".join(lines))
    if blocks:
        blocks.append(FRONTIER_NOTE)
    return "\n\n".join(blocks)


def _lines(entries: Sequence[Entry]) -> list[str]:
    columns = _filled(entries)
    best = on_the_frontier(entries)
    widths = [max(map(len, (head, *cells))) for head, cells in columns]
    rows = [[head for head, _ in columns]]
    rows += [[cells[index] for _, cells in columns] for index in range(len(entries))]
    marks = [" ", *(_MARK if index in best else " " for index in range(len(entries)))]
    return [
        f"{mark} "
        + _GAP.join(
            f"{cell:>{width}}" if columns[index][0] in _FIGURES else f"{cell:<{width}}"
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for mark, row in zip(marks, rows, strict=True)
    ]


def _filled(entries: Sequence[Entry]) -> list[tuple[str, list[str]]]:
    """Heading and cells of the columns that have something to say."""
    columns = [(head, [_short(cell(entry)) for entry in entries]) for head, cell in _COLUMNS]
    return [column for column in columns if any(cell != text.MISSING for cell in column[1])]


def _short(cell: str) -> str:
    return cell if len(cell) <= _LONGEST else f"{cell[: _LONGEST - 1]}…"


def html_table(entries: Sequence[Entry]) -> str:
    """One table of a page."""
    columns = [(head, [cell(entry) for entry in entries]) for head, cell in _COLUMNS]
    columns = [column for column in columns if any(cell != text.MISSING for cell in column[1])]
    best = on_the_frontier(entries)
    heads = "".join(f'<th scope="col"{_css(head)}>{clean(head)}</th>' for head, _ in columns)
    rows = ""
    for index, entry in enumerate(entries):
        cells = "".join(f"<td{_css(head)}>{clean(cells[index])}</td>" for head, cells in columns)
        css = ' class="best"' if index in best else ""
        rows += f'<tr{css} title="{clean(entry.source)}">{cells}</tr>'
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Leaderboard">'
        f'<table class="board"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _css(head: str) -> str:
    return ' class="figure"' if head in _FIGURES else ""
