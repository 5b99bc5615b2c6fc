"""From a network's opinions to findings, suspects and their picture, on made-up opinions whose truth is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine.audit.collection import Collection
from engine.audit.finding import FINE, FOUND, NOTE
from engine.audit.labels.opinion import Opinion
from engine.audit.labels.verdicts import check_labels
from engine.audit.pictures import Pictures, write_sheet
from engine.data.beton.reader import open_beton
from tests.data.betons import write_pixels

COUNT, CLASSES = 1500, 2
Known = tuple[Opinion, NDArray[np.int64]]


def opinion(seed: int, flipped: float = 0.0) -> Known:
    """Of images, most of them easy, of two classes, of which this share has the other's label; and which those are."""
    random = np.random.default_rng(seed)
    margin = random.normal(0, 8, COUNT)
    labels = (margin + random.logistic(size=COUNT) > 0).astype(np.int64)
    which = random.choice(COUNT, round(flipped * COUNT), replace=False)
    labels[which] = 1 - labels[which]
    logits = np.stack([np.zeros(COUNT), margin], axis=1)
    logs = logits - np.logaddexp(0, margin)[:, None]
    return Opinion(np.arange(COUNT), labels, logs.astype(np.float16)), which


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """As many images in val as opinions: their numbers are all that counts here, and the few that are drawn."""
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (16, 16, 3), dtype=np.uint8) for _ in range(COUNT)]
    beton = open_beton(write_pixels(tmp_path_factory.mktemp("verdicts"), pictures))
    return Collection.of(beton, beton)


def test_flipped_labels_are_counted_named_and_drawn(collection: Collection, tmp_path: Path) -> None:
    val, which = opinion(1, flipped=0.06)
    findings, tiles = check_labels(collection, opinion(2)[0], val)
    assert [finding.check for finding in findings if finding.level == FOUND] == ["wrong labels"]
    noise = findings[-1].data
    assert noise["low"] < 0.06 < noise["high"] and noise["train"]["low"] < 0.005
    named = {suspect["sample"] for suspect in noise["suspects"]}
    assert len(named & set(which.tolist())) > 0.8 * len(named) > 30
    assert tiles[0].image == COUNT + noise["suspects"][0]["sample"]
    with Pictures(collection.betons, 1) as pictures:
        write_sheet(tmp_path / "sheet.png", pictures, tiles)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000 and np.asarray(sheet).std() > 10


def ten_classes(seed: int, *, exchanged: float = 0.0) -> Opinion:
    """Of images that the network is mostly right on; the first two classes look alike, and this share of each lies in
    the other one.
    """
    random = np.random.default_rng(seed)
    true = np.repeat(np.arange(10), COUNT // 10)
    logits = random.normal(0, 1, (COUNT, 10))
    logits[np.arange(COUNT), true] += random.normal(7, 2, COUNT)
    alike = true < 2
    logits[alike, 1 - true[alike]] += 4
    labels = np.where((true < 2) & (random.random(COUNT) < exchanged), 1 - true, true)
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return Opinion(np.arange(COUNT), labels, logs.astype(np.float16))


def test_wrong_labels_with_fallen_classes_are_not_called_fine(collection: Collection) -> None:
    """Half of two classes exchanged are 10% wrong labels, which no noise that is the same in all classes explains."""
    names = tuple(f"class {number}" for number in range(10))
    collection = replace(collection, labels=replace(collection.labels, names=names))
    said = {}
    for name, exchanged in (("right", 0.0), ("exchanged", 0.5)):
        findings, _ = check_labels(collection, ten_classes(5), ten_classes(6, exchanged=exchanged))
        said[name] = {finding.check: finding for finding in findings}
    assert said["right"]["wrong labels"].level == FINE
    assert "may be wrong, by the same measure" in said["right"]["wrong labels"].verdict
    assert said["exchanged"]["classes that fall"].level == FOUND
    wrong = said["exchanged"]["wrong labels"]
    assert wrong.level == NOTE
    assert "may be wrong, by the same measure" not in wrong.verdict
    assert wrong.verdict.endswith(
        "; labels of the classes that fall are not counted here and may be wrong too"
    )


def test_right_labels_give_no_finding(collection: Collection) -> None:
    findings, tiles = check_labels(collection, opinion(3)[0], opinion(4)[0])
    assert not [finding.verdict for finding in findings if finding.level == FOUND]
    assert tiles == []


def test_weak_network_says_that_it_cannot_tell(collection: Collection) -> None:
    """A cycle of three classes, which a network that is right on a third of few images doesn't show."""
    random = np.random.default_rng(0)
    true = np.repeat(np.arange(20), 10)
    said = random.normal(0, 1, (200, 20))
    said[np.arange(200), true] += np.where(random.random(200) < 0.36, 4, 0)
    logs = (said - np.logaddexp.reduce(said, axis=1, keepdims=True)).astype(np.float16)
    labels = np.where(np.isin(true, [4, 5, 6]), 4 + (true - 3) % 3, true)
    names = tuple(f"class {number}" for number in range(20))
    collection = replace(collection, labels=replace(collection.labels, names=names))
    ids = np.arange(200)
    findings, tiles = check_labels(collection, Opinion(ids, true, logs), Opinion(ids, labels, logs))
    finding = {one.check: one for one in findings}["permuted labels"]
    assert finding.level == NOTE
    assert finding.verdict.startswith("none found in val; the network is right on ")
    assert (
        "of 20 classes it can't tell, since they have too few images or it confuses them" in finding.verdict
    )
    named = {one.check: one for one in findings}["wrong labels"].data["suspects"]
    assert len(tiles) == len(named)
