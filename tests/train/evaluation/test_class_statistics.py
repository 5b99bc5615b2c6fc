"""Accuracy by class, confusions and calibration against slow counts, and against examples worked out by hand."""

import numpy as np
import pytest

from engine.train.evaluation.class_statistics import Outcomes, by_class, calibration, confusions

NAMES = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu"]


def _outcomes(
    labels: list[int], predicted: list[int], confidence: list[float], in_top5: list[bool] | None = None
) -> Outcomes:
    right = [one == other for one, other in zip(labels, predicted, strict=True)]
    return Outcomes(
        labels=np.array(labels, np.int64),
        predicted=np.array(predicted, np.int64),
        in_top5=np.array(in_top5 or right),
        confidence=np.array(confidence, np.float64),
        losses=-np.log(np.array(confidence)),
    )


def _random(count: int = 500) -> Outcomes:
    """Of a network that is right more often the surer it is; class gnu has no image."""
    random = np.random.default_rng(5)
    labels = random.integers(0, len(NAMES) - 1, count)
    confidence = random.uniform(0.2, 1, count).astype(np.float32)
    right = random.random(count) < confidence**2
    predicted = np.where(right, labels, random.integers(0, len(NAMES), count))
    return _outcomes(
        labels.tolist(), predicted.tolist(), confidence.tolist(), (random.random(count) < 0.9).tolist()
    )


def test_class_accuracy_matches_a_loop() -> None:
    outcomes = _random()
    found = by_class(outcomes, NAMES)
    assert [entry["class"] for entry in found] == NAMES
    for label, entry in enumerate(found[:-1]):
        mine = [row for row in range(500) if outcomes.labels[row] == label]
        assert entry["images"] == len(mine)
        assert entry["top1"] == pytest.approx(sum(outcomes.right[row] for row in mine) / len(mine), abs=1e-6)
        assert entry["top5"] == pytest.approx(
            sum(outcomes.in_top5[row] for row in mine) / len(mine), abs=1e-6
        )
    assert found[-1] == {"class": "gnu", "images": 0, "top1": None, "top5": None}


def test_confusions_are_sorted_by_frequency() -> None:
    outcomes = _random()
    slow: dict[tuple[int, int], int] = {}
    for label, predicted in zip(outcomes.labels.tolist(), outcomes.predicted.tolist(), strict=True):
        if label != predicted:
            slow[label, predicted] = slow.get((label, predicted), 0) + 1
    expected = sorted(slow.items(), key=lambda item: (-item[1], item[0]))
    found = confusions(outcomes, NAMES, most=10)
    assert [(entry["class"], entry["predicted"], entry["images"]) for entry in found] == [
        (NAMES[label], NAMES[predicted], count) for (label, predicted), count in expected[:10]
    ]
    images = int((outcomes.labels == expected[0][0][0]).sum())
    assert found[0]["share"] == pytest.approx(expected[0][1] / images, abs=1e-6)
    assert sum(entry["images"] for entry in confusions(outcomes, NAMES)) == int((~outcomes.right).sum())


def test_confusions_without_mistakes_are_empty() -> None:
    assert confusions(_outcomes([0, 1], [0, 1], [0.9, 0.8]), NAMES) == []


def test_calibration_error_matches_an_example_by_hand() -> None:
    # 15 bins are 0.0667 wide. 0.70 and 0.72 share (0.6667, 0.7333]: one of two is right, |0.5 - 0.71| = 0.21;
    # 0.95 is in the last: right, |1 - 0.95| = 0.05; 0.34 is in (0.3333, 0.4]: wrong, |0 - 0.34| = 0.34.
    found = calibration(_outcomes([0, 1, 2, 3], [0, 0, 2, 0], [0.70, 0.72, 0.95, 0.34]))
    assert found["ece"] == pytest.approx((2 * 0.21 + 0.05 + 0.34) / 4, abs=1e-6)
    assert found["confidence"] == pytest.approx((0.70 + 0.72 + 0.95 + 0.34) / 4, abs=1e-6)
    assert found["nll"] == pytest.approx(-np.log([0.70, 0.72, 0.95, 0.34]).mean(), abs=1e-6)
    filled = {row: entry for row, entry in enumerate(found["bins"]) if entry["images"]}
    assert {row: entry["images"] for row, entry in filled.items()} == {5: 1, 10: 2, 14: 1}
    assert (filled[10]["low"], filled[10]["high"]) == (0.666667, 0.733333)
    assert (filled[10]["confidence"], filled[10]["accuracy"]) == (0.71, 0.5)


@pytest.mark.parametrize("bins", [10, 15])
def test_calibration_error_matches_a_loop(bins: int) -> None:
    outcomes = _random()
    error = 0.0
    for number in range(bins):
        inside = [
            row for row in range(500) if number / bins < outcomes.confidence[row] <= (number + 1) / bins
        ]
        if inside:
            right = np.mean([outcomes.right[row] for row in inside])
            sure = np.mean([outcomes.confidence[row] for row in inside])
            error += len(inside) / 500 * abs(right - sure)
    found = calibration(outcomes, bins)
    assert found["ece"] == pytest.approx(error, abs=1e-6)
    assert sum(entry["images"] for entry in found["bins"]) == 500


def test_confidence_on_a_bin_edge_counts_in_the_lower_bin() -> None:
    for bins in (10, 15):
        for number in range(bins):
            edge = (number + 1) / bins
            found = calibration(_outcomes([0], [0], [edge]), bins)
            assert [entry["images"] for entry in found["bins"]].index(1) == number, edge


def test_calibration_error_is_0_when_right_and_1_when_wrong() -> None:
    assert calibration(_outcomes([0, 1], [0, 1], [1.0, 1.0]))["ece"] == 0
    assert calibration(_outcomes([0, 1], [1, 0], [1.0, 1.0]))["ece"] == 1


def test_nonfinite_figures_become_null() -> None:
    found = calibration(_outcomes([0, 1], [0, 0], [float("nan"), 0.9]))
    assert (found["ece"], found["nll"], found["confidence"]) == (None, None, None)
