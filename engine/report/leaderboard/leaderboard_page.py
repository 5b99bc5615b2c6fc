"""The leaderboard as one page that needs nothing beside itself: pictures, tables, and what counts."""

from collections.abc import Sequence

from engine.report.drawing import charts
from engine.report.drawing.axes import Figure
from engine.report.drawing.charts import clean
from engine.report.drawing.page import document, figure_card
from engine.report.leaderboard.leaderboard_entries import Entry
from engine.report.leaderboard.leaderboard_picture import (
    PHONE,
    POINT_STYLE,
    WIDE,
    legend_of,
    panels,
)
from engine.report.leaderboard.leaderboard_table import PUBLISHED, by_data, html_table
from engine.report.run.sections import card

RULES = "docs/leaderboard.md"

_COLOURS = (
    ":root{--ours:#0550ae;--theirs:#953800}"
    "@media(prefers-color-scheme:dark){:root{--ours:#79c0ff;--theirs:#ffa657}}"
    ".board td,.board th{text-align:left}.board .figure{text-align:right}.board .best td:first-child{font-weight:650}"
    ".board td:last-child{white-space:normal;min-width:15em}"
)


def render(entries: Sequence[Entry]) -> str:
    """The whole page. The same entries give the same page."""
    ours = sum(not entry.published for entry in entries)
    about = (
        f"{ours} measured and {len(entries) - ours} published. In bold: no other entry of its table is both faster and "
        f"more accurate. Sorted by time. The rules are in {RULES}."
    )
    head = f'<header class="card head"><h1>Leaderboard</h1><p class="soft">{clean(about)}</p></header>'
    tables = [
        card(f"{data}, {whose}", _note(whose) + html_table(having))
        for data, whose, having in by_data(entries)
    ]
    return document(
        "Leaderboard", [head, *_figures(entries), *tables], f"Rules: {RULES}.", POINT_STYLE + _COLOURS
    )


def _note(whose: str) -> str:
    if whose != PUBLISHED:
        return ""
    return (
        '<p class="soft">Each on its publisher’s clock and validation; point at a row to see the source. None of '
        "these figures was measured by this project.</p>"
    )


def _figures(entries: Sequence[Entry]) -> list[str]:
    cards = []
    phone = {(data, axis.key): panel for data, axis, panel in panels(entries, PHONE)}
    for number, (data, axis, panel) in enumerate(panels(entries, WIDE)):
        both = ((WIDE, panel), (PHONE, phone[data, axis.key]))
        svgs = [
            charts.svg(one.frame, f"board{number}-{size.name}", one.title, one.about, one.parts, size.name)
            for size, one in both
        ]
        note = "Point at a mark to read it. The axis across is logarithmic."
        legend = legend_of(entry for entry in entries if entry.data == data and axis.value(entry))
        cards.append(figure_card(Figure(title=panel.title, svgs=svgs, legend=legend, note=note)))
    return cards
