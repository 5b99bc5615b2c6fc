"""The alarm: when it is given, what it holds, and that it survives a resume."""

import pytest

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.knowledge.spread import expected_at
from engine.runs.log_schema import AlarmLine, EpochLine
from engine.train.alarm.alarm import Alarm

EPOCHS = 36
FAMILY = "mosaic-mild"


def config_with(*options: str) -> TrainConfig:
    data = ["--data.train_dataset=t.beton", "--data.val_dataset=v.beton"]
    argv = ["-C", "rn50_configs/mosaic_mild.yaml", *data, *options]
    return load_train_config(argv)[0]


@pytest.fixture(autouse=True)
def _in_the_repository(repository: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(repository))


def line_at(epoch: int, offset: float, **fields: object) -> EpochLine:
    """An epoch whose accuracy is `offset` standard deviations from the family's."""
    found = expected_at(FAMILY, epoch / EPOCHS)
    mean, sd = found or (0.3, 0.01)
    values = {"ema_top1": mean + offset * sd, "top1": 0.1, "images": 128, "global_batch": 8, **fields}
    return EpochLine.from_json({"epoch": epoch, **values})


def alarms_of(alarm: Alarm, offsets: dict[int, float]) -> list[AlarmLine]:
    lines = [alarm.note(line_at(epoch, offset), epoch / EPOCHS) for epoch, offset in offsets.items()]
    return [line for line in lines if line is not None]


def test_run_at_the_expected_curve_never_alarms() -> None:
    alarm = Alarm(config_with())
    assert alarms_of(alarm, dict.fromkeys(range(1, EPOCHS + 1), 0.0)) == []
    assert alarms_of(alarm, dict.fromkeys(range(1, EPOCHS + 1), -2.9)) == []
    assert alarm.last_z == pytest.approx(-2.9)


def test_run_far_below_alarms_once_after_two_validations() -> None:
    (line,) = alarms_of(Alarm(config_with()), dict.fromkeys(range(10, 20), -4.0))
    assert line.epoch == 11 and line.z == pytest.approx(-4)
    assert line.top1 == pytest.approx((line.expected or 0) - 4 * (line.spread or 0))
    assert line.causes


def test_one_low_validation_between_good_ones_does_not_alarm() -> None:
    assert alarms_of(Alarm(config_with()), {10: -9, 11: 0, 12: -9, 13: -1, 14: -9}) == []


def test_second_alarm_only_after_a_recovery() -> None:
    found = alarms_of(Alarm(config_with()), {10: -4, 11: -4, 12: -4, 13: 0, 14: -4, 15: -4})
    assert [line.epoch for line in found] == [11, 15]


def test_epoch_without_validation_or_expectation_changes_nothing() -> None:
    alarm = Alarm(config_with())
    assert alarm.note(line_at(10, -4), 10 / EPOCHS) is None
    assert alarm.note(line_at(11, 0, ema_top1=None, top1=None), 11 / EPOCHS) is None
    assert alarm.note(line_at(1, -4), 0.01) is None
    assert (alarm.low, alarm.steps) == (1, 48)
    assert alarm.note(line_at(12, -4), 12 / EPOCHS) is not None


@pytest.mark.parametrize("option", ["--budget.on_alarm=off", "--plan.family=", "--plan.family=rn50-ffcv"])
def test_alarm_off_or_without_curve_is_silent(option: str) -> None:
    assert alarms_of(Alarm(config_with(option)), dict.fromkeys(range(10, 20), -9.0)) == []


def test_resumed_alarm_continues() -> None:
    before, after = Alarm(config_with()), Alarm(config_with("--budget.on_alarm=stop"))
    assert alarms_of(before, {10: -4}) == []
    after.load_state_dict(before.state_dict())
    assert len(alarms_of(after, {11: -4})) == 1
    assert after.stops and not before.stops


def test_causes_are_one_line_each() -> None:
    (line,) = alarms_of(Alarm(config_with()), {10: -4, 11: -4})
    assert len(line.causes or []) >= 3
    assert not any("\n" in cause or cause.endswith(".") for cause in line.causes or [])
