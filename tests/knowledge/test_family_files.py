"""Data files of families: what can't be read is refused with the file's name, and published and measured stay apart."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.knowledge.families import FAMILIES
from engine.knowledge.family_files import MEASURED, PUBLISHED, read_measured, read_published
from engine.knowledge.measured_record import MeasuredFamily, MeasuredRun

GOOD = """\
title: t
network: resnet50
data: ImageNet-1k
num_train: 10
num_val: 5
source: somebody
points:
  - {epochs: 3, top1: 0.5}
  - {epochs: 6, top1: 0.6, source: another, hardware: 1xT4}
"""


def record_of(**runs: Any) -> MeasuredFamily:
    """A family of runs of 2 and 4 epochs, the shorter of which ends at a smaller resolution."""
    facts = {"differs": {}, "machine": {"cpu": "c", "cores": 1}, "versions": {}, "precision": "fp32"}
    each = [
        MeasuredRun(
            epochs=epochs,
            seed=0,
            top1=top1,
            minutes=1.0,
            last_resolution=side,
            by_epoch=[[1, 0.3], [epochs, top1]],
            started=None,
            revision="r",
            **{**facts, **runs},
        )
        for epochs, top1, side in ((2, 0.5, 24), (4, 0.7, 32))
    ]
    text = {"title": "t", "network": "n", "data": "d", "recipe": "r", "measured_as": "32 px"}
    return MeasuredFamily(name="m", num_train=9, num_val=3, metric="top1", files=[], runs=each, **text)


def test_published_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (family,) = read_published(tmp_path).values()
    assert (family.name, family.measured, family.recipe) == ("a", False, "")
    assert [point.source for point in family.points] == ["somebody", "another"]
    assert [point.hardware for point in family.points] == ["", "1xT4"]


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "title: t",
        GOOD.replace("0.5", "50"),
        GOOD + "colour: red\n",
        GOOD.replace("epochs: 3", "length: 3"),
        GOOD[: GOOD.index("points")],
        GOOD + "curves:\n  - {epochs: 3, runs: 1, source: s, points: [[1]]}\n",
    ],
)
def test_damaged_published_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=r"a\.yaml can't be read as a family: .*: correct it"):
        read_published(tmp_path)


@pytest.mark.parametrize("text", ["{", "{}", '{"runs": [{}]}', "[]"])
def test_damaged_measured_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json can't be read as a measured family"):
        read_measured(tmp_path)


def test_measured_record_survives_the_file(tmp_path: Path) -> None:
    record = record_of()
    text = json.dumps(record.to_json())
    assert MeasuredFamily.from_json(json.loads(text)) == record
    (tmp_path / "m.json").write_text(text)
    assert read_measured(tmp_path)["m"].points == record.family().points


def test_run_without_its_last_phase_is_not_fitted() -> None:
    family = record_of().family()
    assert family.measured and [point.epochs for point in family.points] == [4]
    assert [point.note for point in family.unfitted] == ["seed 0; ends at 24 of 32 px"]
    assert [curve.epochs for curve in family.curves] == [2, 4]


def test_published_and_measured_names_are_apart() -> None:
    published, measured = ({path.stem for path in folder.iterdir()} for folder in (PUBLISHED, MEASURED))
    assert not published & (measured - {".gitkeep"})
    assert {name for name, family in FAMILIES.items() if family.measured} == measured - {".gitkeep"}
