"""Reads the families: published/*.yaml and measured/*.json beside this file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from engine.errors import UserError, describe_os_error
from engine.knowledge.family import Curve, Family, Point
from engine.knowledge.measured_record import MeasuredFamily

FOLDER = Path(__file__).resolve().parent
PUBLISHED, MEASURED = FOLDER / "published", FOLDER / "measured"


def read_published(folder: Path = PUBLISHED) -> dict[str, Family]:
    """The families of the YAML files of a folder, by name. Raises UserError for a file that can't be read."""
    found = {}
    for path, text in _texts(folder, ".yaml"):
        try:
            found[path.stem] = published_family(path.stem, yaml.safe_load(text))
        except (yaml.YAMLError, TypeError, KeyError, ValueError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"{path} can't be read as a family: {reason}: correct it") from None
    return found


def read_measured(folder: Path = MEASURED) -> dict[str, Family]:
    """The families of the JSON records of a folder, by name. Raises UserError for a file that can't be read."""
    found = {}
    for path, text in _texts(folder, ".json"):
        try:
            found[path.stem] = MeasuredFamily.from_json(json.loads(text)).family()
        except (TypeError, KeyError, ValueError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(
                f"{path} can't be read as a measured family: {reason}: make it again with `python -m benchmarks family`"
            ) from None
    return found


def published_family(name: str, content: dict[str, Any]) -> Family:
    """The family that a published file holds. A point without `source` or `hardware` has the family's.

    Raises KeyError or TypeError for keys that are missing or unknown, ValueError for an accuracy that is no share.
    """
    hardware = content.pop("hardware", "")
    shared = {"source": content["source"], "hardware": hardware}

    def points_of(key: str) -> tuple[Point, ...]:
        return tuple(Point(**{**shared, **point}) for point in content.pop(key, ()))

    family = Family(
        name=name,
        measured=False,
        points=points_of("points"),
        unfitted=points_of("unfitted"),
        curves=tuple(map(_curve, content.pop("curves", ()))),
        **{"recipe": "", **content},
    )
    if not family.points or not all(0 < point.top1 < 1 for point in (*family.points, *family.unfitted)):
        raise ValueError("top1 has to be a share between 0 and 1, and there has to be a point")
    return family


def _curve(content: dict[str, Any]) -> Curve:
    points = tuple(
        (float(epoch), float(top1), sd[0] if sd else None) for epoch, top1, *sd in content["points"]
    )
    return Curve(**{**content, "points": points})


def _texts(folder: Path, suffix: str) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.glob(f"*{suffix}")):
        try:
            yield path, path.read_text(encoding="utf-8")
        except OSError as error:
            raise describe_os_error(error, path, "read") from None
