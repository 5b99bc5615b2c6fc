"""What every page of a run's figures is made of: the document with its style sheet, and a figure as a card."""

import re
from collections.abc import Iterable
from pathlib import Path

from engine.report.drawing.axes import Figure
from engine.report.drawing.charts import clean
from engine.report.drawing.plan_chart import STAR

_STYLE_SHEET = Path(__file__).with_name("report.css")


def document(title: str, body: Iterable[str], footer: str, further_css: str = "") -> str:
    """A whole page that needs nothing beside itself. `body` and `further_css` are taken as they are."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{clean(title)}</title><style>{_style()}{further_css}</style></head>\n"
        f"<body><main>{''.join(body)}</main>"
        f"<footer>{clean(footer)}</footer></body></html>\n"
    )


def figure_card(figure: Figure | None) -> str:
    """A figure with its heading, legend and note; nothing of none."""
    if figure is None:
        return ""
    keys = "".join(f"<li>{_key(css)}{clean(name)}</li>" for css, name in figure.legend)
    legend = f'<ul class="legend">{keys}</ul>' if keys else ""
    note = f'<p class="note">{clean(figure.note)}</p>' if figure.note else ""
    caption = f"<figcaption><h2>{clean(figure.title)}</h2></figcaption>"
    drawn = f"<figure>{caption}{legend}{''.join(figure.svgs)}{note}</figure>"
    return f'<section class="card">{drawn}</section>'


def _style() -> str:
    css = re.sub(r"/\*.*?\*/", "", _STYLE_SHEET.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\s*\n\s*", "", css)


def _key(css: str) -> str:
    """What a series looks like, for the legend."""
    shapes = {
        "plain": '<path class="diamond plain" d="M11 1l5 5-5 5-5-5z"/>',
        "goal": '<rect class="goal" width="22" height="12" rx="2" style="opacity:.25"/>',
        "first point": '<circle class="dots first" cx="11" cy="6" r="4"/>',
        "measured point": '<circle class="dots measured" cx="11" cy="6" r="4.5"/>',
        "published point": '<path class="diamond published" d="M11 1l5 5-5 5-5-5z"/>',
        "planned point": '<path class="planned point" d="M11 0l6 6-6 6-6-6z"/>',
        "replanned point": '<circle class="replanned point" cx="11" cy="6" r="4.5"/>',
        "reached point": f'<path class="reached point" transform="translate(11 6.5) scale(.8)" d="{STAR}z"/>',
        "second point": '<circle class="dots second" cx="11" cy="6" r="4"/>',
    }
    block = f'<rect class="{css}" x="4" width="12" height="12" rx="2"/>'
    stroke = f'<path class="line {css}" d="M1 6h20"/>'
    shape = shapes.get(css) or (stroke if css.split()[0] in ("first", "second", "run") else block)
    return f'<svg viewBox="0 0 22 12" aria-hidden="true">{shape}</svg>'
