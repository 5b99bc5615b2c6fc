"""Which families a plan is for."""

import pytest

from engine.errors import UserError
from engine.knowledge.families import Family
from engine.plan import planner as planner_module
from engine.plan.choice import Request
from engine.plan.planner import Planner
from tests.shapes import write_betons


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    train, val = write_betons(tmp_path_factory.mktemp("shapes"))
    return str(train), str(val)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, family: Family) -> dict[str, Family]:
    """The planner knows the tiny family alone."""
    families = {family.name: family}
    monkeypatch.setattr(planner_module, "FAMILIES", families)
    return families


def test_without_data_imagenets_families_are_planned() -> None:
    found = Planner().on_machine("8xA100")
    names = {one.family.name for one in found}
    assert {"rn50-ffcv", "rn18-ffcv", "mosaic-mild"} <= names
    assert {one.family.data for one in found} == {"ImageNet-1k"}
    assert "dawnbench-alibaba" not in names and "flax" not in names


def test_data_chooses_the_families_of_its_size(known: dict[str, Family], data: tuple[str, str]) -> None:
    (family, recipe), *others = Planner(data=data).recipes
    assert not others and family.name in known
    assert (recipe.data.train_dataset, recipe.data.val_dataset) == data


def test_data_of_no_family_is_refused(data: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="96 training and 37 validation images of 6 classes"):
        _ = Planner(data=data).recipes


def test_named_family_without_recipe_is_refused() -> None:
    with pytest.raises(UserError, match="flax has no recipe here"):
        Planner(names=["flax"]).on_machine("8xA100")
    with pytest.raises(UserError, match=r"no family 'rn50-fcv'.*did you mean"):
        Planner(names=["rn50-fcv"]).on_machine("8xA100")


def test_network_without_published_speed_is_refused() -> None:
    with pytest.raises(UserError, match="no speed of small_resnet on A100-40GB is published"):
        Planner(names=["fashion-small"]).on_machine("1xA100")


def test_more_gpus_that_fit_are_named() -> None:
    planner = Planner(names=["rn50-ffcv"])
    assert planner.more_gpus("1xA100", Request(target=0.76, seconds=3600))[0].startswith(
        "more GPUs: on 4xA100-40GB"
    )
    assert planner.more_gpus("8xA100", Request(target=0.76, seconds=60)) == []
