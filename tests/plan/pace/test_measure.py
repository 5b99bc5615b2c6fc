"""This machine's pace, measured on a tiny data set with the parts that a run is made of."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.knowledge.families import Family
from engine.plan.candidates import family_recipe
from engine.plan.duration import run_duration
from engine.plan.pace import measure
from engine.plan.pace.measure import measure_pace
from tests.shapes import TRAIN, write_betons


@pytest.fixture(scope="module")
def on_data(family: Family, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    train, val = write_betons(tmp_path_factory.mktemp("shapes"))
    return family_recipe(family, (str(train), str(val)))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second is enough, and starting another Python is left out."""
    monkeypatch.setattr(measure, "LEAST_SECONDS", 0.5)
    monkeypatch.setattr(measure, "_import", lambda: None)


def test_measured_pace_holds_every_part(
    on_data: TrainConfig, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    fp32 = replace(on_data, training=replace(on_data.training, precision="fp32"))
    pace = measure_pace(fp32, 0.5, shown=False)
    assert capsys.readouterr().out == ""
    assert pace.measured and pace.gpus == 0 and pace.precision == "" and not pace.notes
    assert [side.side for side in pace.sides] == [16, 24]
    for side in pace.sides:
        assert side.step > 0 and side.decode and side.together and side.copy is None
    assert pace.setup_seconds > 0
    assert pace.validation_seconds > 0 and pace.save_seconds > 0
    assert pace.finish_seconds > pace.save_seconds
    assert pace.error >= measure.FLOOR_CPU
    found = run_duration(fp32, pace, TRAIN)
    assert found.seconds == pytest.approx(sum(found.parts.values()))


def test_short_measurement_times_both_ends_alone(
    on_data: TrainConfig, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that take longer than their share cost resolutions, not time."""
    monkeypatch.setattr(measure, "LEAST_SECONDS", 0.0)
    four = replace(on_data, resolution=replace(on_data.resolution, min_res=12, max_res=24, multiple_of=4))
    pace = measure_pace(four, 0.01, shown=False)
    assert [side.side for side in pace.sides] == [12, 24]


def test_slow_start_leaves_time_for_the_parts(on_data: TrainConfig, quick: None) -> None:
    begun = time.perf_counter() - 100
    pace = measure_pace(on_data, 0.5, shown=False, begun=begun)
    assert [side.side for side in pace.sides] == [16, 24]
    assert pace.setup_seconds >= 100
    assert " s of them the start of Python and torch" in pace.basis


@pytest.mark.slow
def test_faster_precision_of_a_cpu_is_pinned(
    on_data: TrainConfig, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where auto would pick bf16, both are timed; the plan pins fp32 only if it is faster."""
    monkeypatch.setattr("engine.train.step.precision._cpu_has_bf16", lambda: True)
    pace = measure_pace(on_data, 0.5, shown=False)
    assert pace.precision in ("", "fp32")
    (note,) = pace.notes
    assert note.startswith(f"precision {pace.precision or 'bf16'}: the faster one here")


@pytest.mark.parametrize("seconds", [0, 1, 10_000, float("nan")])
def test_senseless_seconds_are_refused(on_data: TrainConfig, seconds: float) -> None:
    with pytest.raises(UserError, match="--seconds"):
        measure_pace(on_data, seconds)


def test_missing_file_is_refused(on_data: TrainConfig, quick: None, tmp_path: Path) -> None:
    missing = replace(on_data, data=replace(on_data.data, train_dataset=str(tmp_path / "no.beton")))
    with pytest.raises(UserError, match=r"no\.beton"):
        measure_pace(missing, 0.5, shown=False)
