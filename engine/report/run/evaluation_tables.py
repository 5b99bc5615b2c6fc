"""The tables of an evaluation: the original images, the classes, and which of them are taken for which."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from engine.report import text
from engine.report.drawing.charts import clean
from engine.report.evaluation_words import ranked
from engine.report.run.sections import card
from engine.runs.evaluation_schema import ClassAccuracy, Confusion, Evaluation
from engine.runs.folder import EVALUATION

# More than this a page does not list; evaluation.json has them all.
MOST_CLASSES = 24
_LOWEST, _HIGHEST = 15, 5
MOST_PAIRS = 15

Row = TypeVar("Row")
Column = tuple[str, str, Callable[[Row], str]]
"""Heading, CSS class, and how a cell is made."""


def reference_card(found: Evaluation) -> str:
    """The same weights on the original images, as Pillow and torchvision prepare them."""
    reference = found.reference
    if not reference:
        return ""
    side, ratio = reference.resolution, text.significant(found.ratio)
    ways = (
        (
            "as decoded here",
            (reference.engine_top1, reference.engine_top5),
            f"{found.decoder}, {side} px, crop ratio {ratio}, no TTA",
        ),
        (
            "Pillow, torchvision",
            (reference.top1, reference.top5),
            f"Resize({reference.short_side}), CenterCrop({side}), no TTA",
        ),
    )
    rows = "".join(
        f'<tr><th scope="row">{name}</th>'
        f'<td class="figure" data-name="top-1">{text.percent(top1)}</td>'
        f'<td class="figure" data-name="top-5">{text.percent(top5)}</td><td>{clean(how)}</td></tr>'
        for name, (top1, top5), how in ways
    )
    images = text.count(reference.images)
    out = [
        f"{text.count(count)} {words}"
        for count, words in (
            (reference.rejected, "that the conversion left out"),
            (reference.not_in_file, "not in the file"),
        )
        if count
    ]
    rest = f" Of the data set’s images {' and '.join(out)} are not counted." if out else ""
    table = (
        '<table class="words results"><thead><tr><th>pixels</th><th class="figure">top-1</th>'
        f'<th class="figure">top-5</th><th>on the same {images} images</th></tr></thead><tbody>{rows}</tbody></table>'
    )
    note = (
        f"The gap is {text.signed(reference.gap_points)} points of top-1. {text.count(reference.changed)} of "
        f"{images} predictions differ; {text.percent(reference.moved)} of an image’s probability moved to other "
        f"classes, {text.significant(reference.mean_difference, 2)} for each class.{rest}"
    )
    return card("The original images", f'{table}<p class="note more">{clean(note)}</p>')


def class_card(found: Evaluation) -> str:
    """Top-1 and top-5 of each class, or of the lowest and highest."""
    order = ranked(found)
    if not order:
        return ""
    parts, note = [("", order[::-1])], ""
    if len(order) > MOST_CLASSES:
        parts = [("lowest", order[: -_LOWEST - 1 : -1]), ("highest", order[:_HIGHEST])]
        note = (
            f'<p class="note">{_LOWEST + _HIGHEST} of {len(order):,} classes; {EVALUATION} has them all.</p>'
        )
    columns: list[Column[ClassAccuracy]] = [
        ("class", "", lambda entry: entry.name),
        ("images", "figure", lambda entry: text.count(entry.images)),
        ("top-1", "figure", lambda entry: text.percent(entry.top1, 1)),
        ("top-5", "figure", lambda entry: text.percent(entry.top5, 1)),
    ]
    tables = "".join(_table(entries, columns, caption) for caption, entries in parts)
    return card("Classes, the least accurate first", tables + note)


def confusion_card(found: Evaluation) -> str:
    """Which classes are taken for which, the most frequent first."""
    pairs = found.confusions[:MOST_PAIRS]
    if not pairs:
        return ""
    columns: list[Column[Confusion]] = [
        ("class", "", lambda pair: pair.name),
        ("taken for", "", lambda pair: pair.predicted),
        ("images", "figure", lambda pair: text.count(pair.images)),
        ("of its class", "figure", lambda pair: text.percent(pair.share, 1)),
    ]
    return card("Most frequent mistakes", _table(pairs, columns))


def _table(entries: Sequence[Row], columns: Sequence[Column[Row]], caption: str = "") -> str:
    heads = "".join(f'<th scope="col" class="{css}">{head}</th>' for head, css, _ in columns)
    rows = "".join(
        "<tr>" + "".join(f'<td class="{css}">{clean(cell(entry))}</td>' for _, css, cell in columns) + "</tr>"
        for entry in entries
    )
    said = f'<caption class="soft">{caption}</caption>' if caption else ""
    return f'<table class="words">{said}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
