"""Predictions as lines: text for people, CSV, or a JSON object a line; and features as an array."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import UserError
from engine.files import atomic_write
from engine.predict.predictor import Prediction

COLUMN = "column"
"""In place of a file of features: they are part of each line."""


def as_text(one: Prediction) -> str:
    """Such as "cat.jpg: tabby 81.2%, tiger cat 12.0%", or with the error."""
    if one.error is not None:
        return f"{_printable(one.source)}: error: {one.error}"
    guesses = ", ".join(f"{guess.name} {guess.probability:.1%}" for guess in one.top)
    return f"{_printable(one.source)}: {guesses}"


def as_json(one: Prediction) -> str:
    """An object with source, top (index, id, name and probability of each guess), error, and features if there are."""
    content: dict[str, object] = {
        "source": one.source,
        "top": [
            {"index": guess.index, "id": guess.id, "name": guess.name, "probability": guess.probability}
            for guess in one.top
        ],
        "error": one.error,
    }
    if one.features is not None:
        content["features"] = [float(value) for value in one.features]
    return json.dumps(content)


def csv_header(top_k: int, *, features: bool) -> str:
    """The names of the columns of `as_csv`."""
    columns = [f"{key}{rank}" for rank in range(1, top_k + 1) for key in ("id", "name", "probability")]
    return _csv(["source", "error", *columns, *(["features"] if features else [])])


def as_csv(one: Prediction, top_k: int, *, features: bool) -> str:
    """A row: source, error, then id, name and probability of each guess, and the features with spaces between."""
    cells = [cell for guess in one.top for cell in (guess.id, guess.name, f"{guess.probability:.6g}")]
    cells += [""] * (3 * top_k - len(cells))
    if features:
        cells.append("" if one.features is None else " ".join(f"{value:.6g}" for value in one.features))
    return _csv([_printable(one.source), one.error or "", *cells])


def _csv(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _printable(name: str) -> str:
    """A name on one line, whatever is in it; bytes that are no UTF-8 are escaped."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in name
    )


class Features:
    """Collects the features of predictions for a file, .npy or .npz; a row for each image, NaN for one without."""

    def __init__(self, path: Path) -> None:
        if path.suffix not in (".npy", ".npz"):
            raise UserError(f"--features {path}: its name must end in .npy or .npz, or be the word {COLUMN}")
        if not path.parent.is_dir() or path.is_dir():
            raise UserError(f"--features {path} can't be written: name a file in a folder that exists")
        self.path = path
        self._rows: list[NDArray[np.float32] | None] = []
        self._sources: list[str] = []

    def add(self, one: Prediction) -> None:
        """Take the features of the next image."""
        self._rows.append(one.features)
        self._sources.append(one.source)

    def write(self) -> tuple[int, int]:
        """Write the file; returns images and features. An .npz has `features` (n, d), float32, and `sources` (n,)."""
        width = next((len(row) for row in self._rows if row is not None), 0)
        features = np.full((len(self._rows), width), np.nan, np.float32)
        for number, row in enumerate(self._rows):
            if row is not None:
                features[number] = row
        with atomic_write(self.path) as file:
            if self.path.suffix == ".npy":
                np.save(file, features)
            else:
                np.savez(
                    file, features=features, sources=np.array([_printable(one) for one in self._sources])
                )
        return features.shape


def lines(
    predictions: Iterator[Prediction], form: str, top_k: int, *, features: bool
) -> Iterator[tuple[str, Prediction]]:
    """Each prediction and its line in `form`: text, csv or json."""
    for one in predictions:
        if form == "json":
            yield as_json(one), one
        elif form == "csv":
            yield as_csv(one, top_k, features=features), one
        else:
            yield as_text(one), one
