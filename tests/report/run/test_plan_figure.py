"""The figure "Plan and result": a run beside its family, or no figure where there is nothing to compare with."""

import json
import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from engine.knowledge.families import FAMILIES
from engine.report.drawing.axes import Figure
from engine.report.drawing.plan_chart import PLANNED, REACHED, REPLANNED
from engine.report.run.plan_figure import plan_and_result
from engine.runs.log_reader import build_history
from tests.report.runs import Line, adapted_log, epoch_lines, parsed, render, run_config, start_line

SVG = "{http://www.w3.org/2000/svg}"
PLAN = {"family": "rn50-ffcv", "minutes": 1160 / 60}
BUDGET = {"target_top1": 0.735, "minutes": 20.0, "adapt": True}


def _figure(log: list[Line], **sections: dict[str, Any]) -> Figure | None:
    usual: dict[str, dict[str, Any]] = {"plan": PLAN, "budget": BUDGET, "training": {"epochs": 16}}
    return plan_and_result(build_history(parsed(log)), run_config(**(usual | sections)))


def _drawn(log: list[Line], **sections: dict[str, Any]) -> Figure:
    figure = _figure(log, **sections)
    assert figure is not None
    for svg in figure.svgs:
        ElementTree.fromstring(svg)
    return figure


def _starting_with(**changes: Any) -> list[Line]:
    log = adapted_log()
    return [log[0] | changes, *log[1:]]


def _untimed() -> list[Line]:
    return _starting_with(predicted_seconds=None, predicted_seconds_low=None, predicted_seconds_high=None)


def _marks(svg: str, css: str) -> list[ElementTree.Element]:
    return [part for part in ElementTree.fromstring(svg).iter() if part.get("class") == css]


def _axis(svg: str) -> str:
    return " ".join(part.text or "" for part in ElementTree.fromstring(svg).iter("text"))


def test_adapted_run_shows_plan_replans_and_result() -> None:
    figure = _drawn(adapted_log())
    assert figure.legend == [
        ("first published", "rn50-ffcv (published), as predicted"),
        ("band", "90% interval for one run"),
        (PLANNED, "planned: 16 epochs, 19 min 20 s [18 min 20 s to 20 min 10 s], 73.80% [73.40% to 74.20%]"),
        (
            REPLANNED,
            "re-planned 2 times, last: 15 epochs, 19 min 52 s, 73.65% [73.35% to 74.05%]",
        ),
        (REACHED, "reached: 15 epochs, 18 min 29 s, 74.00%"),
    ]
    assert "1 min 12 s an epoch" in figure.note
    assert len(figure.svgs) == 2
    for svg in figure.svgs:
        counts = [len(_marks(svg, css)) for css in (PLANNED, REPLANNED, REACHED, "whisker", "band")]
        assert counts == [1, 2, 1, 3, 1]
        words = _axis(svg)
        for part in ("time of the run, minutes (logarithmic)", "limit 20 min", "target 73.5%"):
            assert part in words
        assert len(_marks(svg, "line published")) == 1


def test_planned_length_lies_on_the_family_curve() -> None:
    """The family's length that was planned stands where the plan's minutes put it."""
    svg = _drawn(_starting_with(predicted_top1=FAMILIES["rn50-ffcv"].predict(16).top1)).svgs[0]
    (diamond,), (curve,) = _marks(svg, PLANNED), _marks(svg, "line published")
    x, y = map(float, re.findall(r"-?[\d.]+", diamond.attrib["d"])[:2])
    # 16 epochs are the family's shortest, so the curve begins there.
    assert [x, y + 7] == pytest.approx(
        list(map(float, re.findall(r"-?[\d.]+", curve.attrib["d"])[:2])), abs=0.2
    )


def test_run_without_predicted_time_is_drawn_by_epochs() -> None:
    figure = _drawn(_untimed(), plan={"family": "rn50-ffcv"})
    words = _axis(figure.svgs[0])
    assert "length of the run, epochs" in words and "limit" not in words
    assert "an epoch, as planned" not in figure.note
    (first, second), (star,) = _marks(figure.svgs[0], REPLANNED), _marks(figure.svgs[0], REACHED)
    assert float(first.attrib["cx"]) < float(second.attrib["cx"])
    # Both the last re-plan and the result are of 15 epochs.
    assert f"translate({second.attrib['cx']} " in star.attrib["transform"]


def test_running_run_has_no_result_yet() -> None:
    figure = _drawn(adapted_log()[:4])
    assert [css for css, _ in figure.legend] == ["first published", "band", PLANNED]
    assert _marks(figure.svgs[0], REACHED) == []


def test_measured_family_has_a_solid_line() -> None:
    name, known = next((name, one) for name, one in FAMILIES.items() if one.measured)
    epochs = math.ceil(known.range()[0])
    found = known.predict(epochs)
    start = start_line(family=name, predicted_top1=found.top1)
    start |= {"predicted_top1_low": found.low, "predicted_top1_high": found.high}
    figure = _drawn([start, *epoch_lines(1)], plan={"family": name}, training={"epochs": epochs})
    assert figure.legend[0] == ("first", f"{name} (measured by this project), as predicted")
    assert "published" not in "".join(figure.svgs)


def test_planned_length_is_that_before_the_replans() -> None:
    """The config.yaml of a run that has ended holds its re-plans in training.timeline."""
    log = [line | {"length_before": None} if line["kind"] == "replan" else line for line in adapted_log()]
    for timeline, planned in (("0:18, 4:14.25, 8:15", "18"), ("4:14.25, 8:15", "16")):
        figure = _drawn(log, training={"epochs": 16, "timeline": timeline})
        assert f"planned: {planned} epochs" in figure.legend[2][1]


def test_resumed_run_keeps_its_first_plan() -> None:
    """The start line of a resumed run predicts the length after the re-plans."""
    log = adapted_log()
    again = log[0] | {"resumed_at_epoch": 10, "predicted_top1": 0.731}
    place = next(number for number, line in enumerate(log) if line.get("epoch") == 10) + 1
    figure = _drawn([*log[:place], again, *log[place:]])
    found = FAMILIES["rn50-ffcv"].predict(16)
    assert f"{found.top1:.2%} [{found.low:.2%} to {found.high:.2%}]" in figure.legend[2][1]


def test_stage_of_several_is_drawn_by_epochs() -> None:
    figure = _drawn(_starting_with(stage=2, stages=2, earlier_seconds=600.0))
    assert "length of the run, epochs" in _axis(figure.svgs[0])


@pytest.mark.parametrize("name", [None, "", "no-such-family", "flax", 5, ["rn50-ffcv"]], ids=repr)
def test_unknown_or_single_point_family_has_no_figure(name: Any) -> None:
    log = [*adapted_log()]
    log[0] = {key: value for key, value in log[0].items() if key != "family"}
    assert _figure(log, plan={"family": name, "minutes": 20.0}) is None
    page = render(run_config(plan={"family": name}), log)
    assert "Plan and result" not in page


def test_run_without_prediction_has_no_figure() -> None:
    log = [start_line(family="rn50-ffcv"), *epoch_lines(3)]
    assert _figure(log) is None
    assert plan_and_result(build_history([]), {}) is None
    assert plan_and_result(build_history(parsed(adapted_log())), {"plan": {}, "training": {}}) is not None


@pytest.mark.parametrize("value", [None, 0.0, -1.0, 1e300, math.nan, math.inf], ids=repr)
def test_senseless_figures_draw_no_impossible_chart(value: float | None) -> None:
    keys = ("predicted_", "length", "elapsed_seconds", "top1")
    for key in {key for line in adapted_log() for key in line if key.startswith(keys)}:
        log = [
            line | {key: value} if key in line and (value is not None or key != "length") else line
            for line in adapted_log()
        ]
        figure = _figure(log, training={"epochs": value, "timeline": "x"}, plan=PLAN | {"minutes": value})
        drawn = json.dumps(figure.svgs) if figure else ""
        assert not re.search(r"\b(nan|inf)\b", drawn), key


def test_page_has_the_section_between_accuracy_and_replans() -> None:
    page = render(run_config(plan=PLAN, budget=BUDGET), adapted_log())
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles[:3] == ["Accuracy against time", "Plan and result", "Planned length"]
