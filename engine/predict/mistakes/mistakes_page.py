"""The page of mistakes: one HTML file that needs nothing beside itself, in the style of a run's report."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.predict.mistakes.class_table import class_table
from engine.predict.mistakes.judged import Judged
from engine.predict.mistakes.selection import Pair, Rows, Selection, class_rows
from engine.predict.mistakes.thumbnails import Thumbnail
from engine.report import text
from engine.report.drawing.charts import clean
from engine.report.drawing.page import document
from engine.report.run.sections import card
from engine.train.evaluation.class_statistics import NO_CLASS

_STYLE_SHEET = Path(__file__).with_name("mistakes.css")
_WORST, _CONFUSED, _UNSURE = "Worst images", "Most confused classes", "Least certain right images"
_CLASSES, _MEASURED = "Classes", "How it was measured"
_OPENED = 3
"""Pairs whose examples are shown at once."""
_SMALL = 96
"""Images of at most so many pixels are enlarged pixel by pixel."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """What a page is about, and how it was measured."""

    title: str
    """The run, or the file of weights."""
    network: str
    names: Sequence[str]
    """By output."""
    resolution: int
    conditions: Sequence[tuple[str, str]]
    """Name and value of each; no paths, since a page is passed on."""
    source: Callable[[int], str]
    """Where a sample came from, empty if that is not known."""
    notes: Sequence[str] = ()


class Page:
    """Draws the images of one file; `thumbnails` are by row of `judged`."""

    def __init__(
        self, subject: Subject, judged: Judged, chosen: Selection, drawn: Mapping[int, Thumbnail]
    ) -> None:
        self.subject, self.judged, self.chosen, self.drawn = subject, judged, chosen, drawn

    def render(self) -> str:
        """The whole page. The same content gives the same page."""
        rows = class_rows(self.judged, len(self.subject.names))
        body = [
            self._header(len(rows)),
            _section(_WORST, self._worst()),
            _section(_CONFUSED, self._pairs()),
            _section(_UNSURE, self._unsure()),
            _section(_CLASSES, class_table(rows, self.subject.names)),
            _section(_MEASURED, self._conditions()),
        ]
        css = re.sub(r"/\*.*?\*/|\s*\n\s*", "", _STYLE_SHEET.read_text(encoding="utf-8"), flags=re.DOTALL)
        title = f"Mistakes · {self.subject.title}"
        return document(title, body, "Written by python -m engine mistakes.", css)

    def _header(self, classes: int) -> str:
        judged, outcomes = self.judged, self.judged.outcomes
        count, wrong = len(judged.samples), int((~outcomes.right).sum())
        loss = outcomes.losses.mean()
        tiles = [
            ("Wrong", text.count(wrong), f"of {text.count(count)} images"),
            ("Balanced accuracy", text.percent(judged.balanced), f"mean over {text.count(classes)} classes"),
            ("Mean loss", text.number(float(loss)), "nats, no smoothing"),
        ]
        if len(self.subject.names) > judged.top.shape[1]:
            tiles.insert(
                1, ("Top-5", text.percent(float(outcomes.in_top5.mean())), "label among the likeliest")
            )
        drawn = "".join(
            f'<div class="tile"><dt>{name}</dt><dd>{value}<small>{detail}</small></dd></div>'
            for name, value, detail in tiles
        )
        links = "".join(
            f'<a href="#{_anchor(title)}">{title}</a>'
            for title in (_WORST, _CONFUSED, _UNSURE, _CLASSES, _MEASURED)
        )
        about = f"{self.subject.network} · {text.count(len(self.subject.names))} classes"
        notes = "".join(f'<p class="soft">{clean(note)}</p>' for note in self.subject.notes)
        return (
            f'<header class="card head"><div class="top"><span class="badge">Mistakes</span>'
            f'<span class="soft">{clean(self.subject.title)} · {clean(about)}</span></div>'
            f"<h1><span>{text.percent(judged.top1)} top-1</span></h1>{notes}"
            f'<dl class="tiles">{drawn}</dl><nav>{links}</nav></header>'
        )

    def _worst(self) -> str:
        if not len(self.chosen.worst):
            return _note("None: every image is predicted right.")
        note = "Wrong, with the largest loss: the network gives their label the least probability."
        if any(one.overlay for one in self.drawn.values()):
            note += " Beside each image Grad-CAM for the predicted class, red where it sees it."
        return _note(note) + self._shots(self.chosen.worst)

    def _pairs(self) -> str:
        if not self.chosen.pairs:
            return _note("None: no image is taken for another class.")
        note = "A class and what its images are taken for, the most frequent first, with the worst examples."
        pairs = enumerate(self.chosen.pairs)
        return _note(note) + "".join(self._pair(pair, opened=number < _OPENED) for number, pair in pairs)

    def _pair(self, pair: Pair, *, opened: bool) -> str:
        names = self.subject.names
        said = (
            f"{text.count(pair.images)} of {text.count(pair.of_class)} images "
            f"({text.percent(pair.images / pair.of_class, 1)}); the other way round {text.count(pair.reverse)}"
        )
        head = (
            f"<summary><b>{clean(names[pair.label])}</b> taken for <b>{clean(names[pair.predicted])}</b> "
            f'<span class="soft">{said}</span></summary>'
        )
        state, shots = " open" if opened else "", self._shots(pair.examples, named=False)
        return f'<details class="pair-of"{state}>{head}{shots}</details>'

    def _unsure(self) -> str:
        if not len(self.chosen.unsure):
            return _note("None: no image is predicted right.")
        note = "Right, with the lowest probability: the next mistakes."
        return _note(note) + self._shots(self.chosen.unsure)

    def _conditions(self) -> str:
        rows = "".join(
            f'<tr><th scope="row">{clean(name)}</th><td>{clean(value)}</td></tr>'
            for name, value in self.subject.conditions
        )
        return f'<table class="words"><tbody>{rows}</tbody></table>'

    def _shots(self, rows: Rows, *, named: bool = True) -> str:
        """The images; `named` says of each which class it is of."""
        small = " small" if self.subject.resolution <= _SMALL else ""
        return f'<div class="shots{small}">{"".join(self._shot(int(row), named) for row in rows)}</div>'

    def _shot(self, row: int, named: bool) -> str:
        judged, outcomes, names = self.judged, self.judged.outcomes, self.subject.names
        label, predicted = int(outcomes.labels[row]), int(outcomes.predicted[row])
        sample, thumbnail = int(judged.samples[row]), self.drawn[row]
        actual = clean(names[label])
        said = f"<b>{actual}</b>"
        if predicted == NO_CLASS:
            said += " (the network’s outputs are not finite)"
        elif predicted != label:
            said += f" taken for <b>{clean(names[predicted])}</b>"
        source = self.subject.source(sample)
        place = f"image {text.count(sample)}{' · ' if source else ''}{clean(source)}"
        views = [(thumbnail.image, f"an image of {actual}")]
        if thumbnail.overlay and predicted != NO_CLASS:
            views.append((thumbnail.overlay, f"Grad-CAM for {clean(names[predicted])}"))
        images = "".join(f'<img src="{uri}" alt="{alt}" title="{alt}" loading="lazy">' for uri, alt in views)
        loss = text.number(float(outcomes.losses[row]), 2)
        words = f"<p>{said if named else ''}<small>loss {loss} · {place}</small></p>"
        return (
            f'<article class="shot"><div class="views">{images}</div>{words}'
            f"{self._bars(row, label, predicted)}</article>"
        )

    def _bars(self, row: int, label: int, predicted: int) -> str:
        """The likeliest classes, and the label where it is none of them."""
        judged = self.judged
        if predicted == NO_CLASS:
            return ""
        shares = dict(zip(judged.top[row].tolist(), judged.shares[row].tolist(), strict=True))
        shares.setdefault(label, float(np.exp(-judged.outcomes.losses[row])))
        bars = "".join(self._bar(one, share, label, predicted) for one, share in shares.items())
        return f'<ol class="bars">{bars}</ol>'

    def _bar(self, one: int, share: float, label: int, predicted: int) -> str:
        css = "label" if one == label else "taken" if one == predicted else ""
        name, percent = clean(self.subject.names[one]), text.percent(share, 1)
        return (
            f'<li class="{css}"><span title="{name}">{name}</span><i style="--p:{100 * share:.1f}%"></i>'
            f"<em>{percent}</em></li>"
        )


def _section(title: str, body: str) -> str:
    return f'<div id="{_anchor(title)}">{card(title, body)}</div>'


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _note(said: str) -> str:
    return f'<p class="soft">{clean(said)}</p>'
