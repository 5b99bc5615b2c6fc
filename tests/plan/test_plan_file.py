"""plan.yaml: loads as a recipe, says what was chosen and predicted, and replaces nothing unasked."""

from pathlib import Path

import pytest
import yaml

from engine.config.load import load_train_config
from engine.errors import UserError
from engine.knowledge.families import Family
from engine.plan.choice import Choice, plan_for
from engine.plan.pace.machine_pace import Pace
from engine.plan.plan_file import write_plan

DATA = ("t.beton", "v.beton")


@pytest.fixture
def choice(family: Family, pace: Pace) -> Choice:
    return plan_for(family, pace, target=0.8, seconds=150, price=2.0)


def test_plan_loads_with_what_was_chosen(choice: Choice, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "plan.yaml"
    path.parent.mkdir()
    write_plan(choice, path, data=DATA)
    config, name = load_train_config(["-C", str(path)])
    assert choice.pick and name == "plan"
    assert config.model.arch == "small_resnet"
    assert config.training.epochs == choice.pick.config.training.epochs
    assert config.training.timeline == choice.pick.config.training.timeline
    assert config.validation.every == choice.pick.config.validation.every
    assert config.budget.target_top1 == 0.8
    assert config.budget.seconds == pytest.approx(150)
    assert config.budget.adapt and config.budget.price == 2.0
    assert (config.data.train_dataset, config.data.val_dataset) == DATA
    assert not yaml.safe_load(path.read_text())["base"].startswith("/")


def test_plan_section_holds_the_prediction(choice: Choice, tmp_path: Path) -> None:
    write_plan(choice, tmp_path / "plan.yaml", data=DATA)
    plan = load_train_config(["-C", str(tmp_path / "plan.yaml")])[0].plan
    assert choice.pick
    duration = choice.pick.duration
    assert plan.minutes * 60 == pytest.approx(sum(duration.parts.values()), abs=0.1)
    assert (plan.minutes_low * 60, plan.minutes_high * 60) == pytest.approx(
        (duration.low, duration.high), abs=0.1
    )
    assert plan.family == "shapes-tiny"
    assert plan.pace_list() == [(16, 20.0), (24, 10.0)]
    assert plan.machine == "made up, measured"


def test_answered_time_and_target_are_promised(family: Family, pace: Pace, tmp_path: Path) -> None:
    choice = plan_for(family, pace, seconds=120)
    write_plan(choice, tmp_path / "plan.yaml")
    content = yaml.safe_load((tmp_path / "plan.yaml").read_text())
    assert choice.pick
    assert content["budget"]["target_top1"] <= choice.pick.prediction.low
    assert content["budget"]["minutes"] == 2.0
    assert "data" not in content and "price" not in content["budget"]


def test_other_file_is_replaced_only_by_force(choice: Choice, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        write_plan(choice, path)
    assert path.read_text() == "mine"
    write_plan(choice, path, force=True)
    assert path.read_text().startswith("# Written by")


def test_missing_folder_and_missing_pick_are_refused(family: Family, pace: Pace, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        write_plan(plan_for(family, pace, target=0.8), tmp_path / "no" / "plan.yaml")
    with pytest.raises(UserError, match="nothing fits"):
        write_plan(plan_for(family, pace, target=0.99), tmp_path / "plan.yaml")
