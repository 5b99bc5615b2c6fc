"""What an evaluation found, on the terminal and the page: few classes, a thousand, and outputs that are not finite."""

import re
from typing import Any

import pytest

from tests.report.runs import closing_summary, render, run_config, start_line

CONFIG = run_config(training={"eval_only": True}, model={"weights": "weights.pt"})


def _log(classes: int, *, finite: bool = True) -> list[dict[str, Any]]:
    """Class k of n has 10 images and a top-1 of 1 - k / n; k + 1 images of it are taken for the next class."""
    names = [f"class{number:04d}" for number in range(classes)]
    table = [
        {"class": name, "images": 10, "top1": 1 - number / classes, "top5": 1.0}
        for number, name in enumerate(names)
    ]
    pairs = [
        {"class": names[number], "predicted": names[number + 1], "images": number + 1, "share": 0.1}
        for number in reversed(range(min(classes, 100) - 1))
    ]
    bins: list[dict[str, Any]] = [
        {"low": number / 15, "high": (number + 1) / 15, "images": number * 7, "confidence": (number + 0.5) / 15,
         "accuracy": number / 15}
        for number in range(15)
    ]  # fmt: skip
    bins[0] |= {"confidence": None, "accuracy": None}
    figure = 0.61 if finite else None
    at = {"ratio": 0.875, "tta": True, "top1": 0.5, "top5": 0.9, "val_loss": 1.0}
    found = {
        "images": 10 * classes,
        "decoder": "jpeg",
        **at,
        "resolution": 256,
        "resolutions": [{"resolution": 256, **at}, {"resolution": 288, **at, "top1": 0.5321}],
        "calibration": {"ece": figure, "nll": figure, "confidence": figure, "bins": bins},
        "classes": table,
        "confusions": pairs,
        "reference": {
            "images": 10 * classes,
            "resolution": 256,
            "short_side": 293,
            "engine_top1": 0.48,
            "engine_top5": 0.89,
            "top1": 0.4812,
            "top5": 0.88,
            "gap_points": -0.12,
            "changed": 7,
            "mean_difference": 0.002,
            "moved": 0.0123,
            "rejected": 3,
            "not_in_file": 0,
        },
    }
    result = {
        "kind": "result",
        "top1": 0.5,
        "top5": 0.9,
        "top1_no_tta": 0.48,
        "top5_no_tta": 0.89,
        "tta": True,
        "plain_top1": 0.47,
        "plain_top5": 0.88,
        "plain_resolution": 224,
        "plain_ratio": 0.875,
        "val_resolution": 256,
        "val_ratio": 0.875,
        "num_val": 10 * classes,
        "met": None,
        "verdict": "50.00% top-1; no target was set",
        "evaluation": found,
    }
    return [start_line(), result]


LOGS = {"few": _log(10), "thousand": _log(1000)}


def test_terminal_shows_each_finding_in_a_line() -> None:
    said = closing_summary(CONFIG, LOGS["few"])
    assert "288 px     top-1 53.21%, top-5 90.00% (288 px, crop ratio 0.875, with flip TTA)" in said
    assert "calibrated ECE 61.00% in 15 bins, NLL 0.6100; 61.0% confident on average, overconfident" in said
    assert (
        "by class   from class0000 100.0% down to class0009 10.0%, class0008 20.0%, class0007 30.0%" in said
    )
    assert "mistaken   class0008 for class0009 9, class0007 for class0008 8" in said
    assert (
        "Pillow     top-1 48.12%; as decoded here 48.00%, a gap of -0.12 points; 7 of 100 predictions differ"
        in said
    )


def test_page_lists_few_classes_fully_and_many_by_extremes() -> None:
    few, thousand = (render(CONFIG, LOGS[name]) for name in ("few", "thousand"))
    assert len(re.findall(r'<td class="">class\d+</td><td class="figure">10</td>', few)) == 10
    assert len(re.findall(r'<td class="">class\d+</td><td class="figure">10</td>', thousand)) == 20
    assert "20 of 1,000 classes; evaluation.json has them all." in thousand
    assert few.index('<td class="">class0009</td><td class="figure">10</td>') < few.index(
        '<td class="">class0000</td><td class="figure">10</td>'
    ), "the least accurate first"
    for page in (few, thousand):
        assert "Resize(293), CenterCrop(256), no TTA" in page
        assert "The gap is -0.12 points of top-1." in page
        assert "3 that the conversion left out are not counted" in page
        assert page.count('<svg class="chart') == 4, "by class in two sizes, reliability and confidence"


def test_thousand_classes_are_grouped_into_100_bars() -> None:
    wide = re.search(r'<svg class="chart wide".*?</svg>', render(CONFIG, LOGS["thousand"]), re.DOTALL)
    assert wide and wide[0].count('<g class="bar">') == 100
    assert "classes 1–10: class0000 100.0% to class0009 99.1%" in wide[0]


def test_nonfinite_outputs_are_named_and_not_drawn() -> None:
    log = _log(10, finite=False)
    assert "calibrated the network's outputs are not finite" in closing_summary(CONFIG, log)
    assert "Reliability" not in render(CONFIG, log)


def test_nonfinite_figures_are_dashes() -> None:
    start, result = _log(10, finite=False)
    result["evaluation"]["reference"] |= {"gap_points": None, "mean_difference": None, "moved": None}
    assert "a gap of – points" in closing_summary(CONFIG, [start, result])
    assert "an image’s probability moved to other classes, – for each class." in render(
        CONFIG, [start, result]
    )


def test_two_classes_are_listed_as_best_and_worst() -> None:
    assert "by class   from class0000 100.0% down to class0001 50.0%\n" in closing_summary(CONFIG, _log(2))
    assert "by class" not in closing_summary(CONFIG, _log(1))


def test_well_calibrated_network_is_neither_over_nor_underconfident() -> None:
    start, result = _log(10)
    result["evaluation"]["top1"] = result["evaluation"]["calibration"]["confidence"] = 1.0
    assert "100.0% confident on average, and right as often\n" in closing_summary(CONFIG, [start, result])


@pytest.mark.parametrize("key", ["reference", "confusions"])
def test_missing_findings_have_no_section(key: str) -> None:
    start, result = _log(10)
    found = result["evaluation"]
    found[key] = [] if key == "confusions" else None
    page, said = render(CONFIG, [start, result]), closing_summary(CONFIG, [start, result])
    heading, name = {"reference": ("The original images", "Pillow"), "confusions": ("mistakes", "mistaken")}[
        key
    ]
    assert heading not in page
    assert f"{name} " not in said
