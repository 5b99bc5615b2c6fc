"""A tiny family of runs, its recipe, and a pace made up for it."""

from pathlib import Path

import pytest
import yaml

from engine.config.train.train_config import TrainConfig
from engine.knowledge.families import Family, Point
from engine.plan.candidates import family_recipe
from engine.plan.pace.machine_pace import Pace, SidePace
from tests.shapes import TRAIN, VAL

RECIPE = {
    "model": {"arch": "small_resnet"},
    "resolution": {
        "min_res": 16,
        "max_res": 24,
        "start_ramp": 0.3,
        "end_ramp": 0.6,
        "multiple_of": 8,
    },
    "lr": {"lr": 0.05, "lr_peak_epoch": 1},
    "validation": {"resolution": 32, "plain_resolution": 24, "batch_size": 16},
    "training": {"batch_size": 16, "epochs": 4, "device": "cpu"},
}


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """Runs of 2 to 12 epochs on the six classes of shapes: 70% to 85%."""
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    return tiny_family(recipe)


def tiny_family(recipe: Path) -> Family:
    """The family with its recipe in that file."""
    points = tuple(
        Point(epochs=epochs, top1=top1, source="made up")
        for epochs, top1 in ((2, 0.70), (4, 0.78), (8, 0.83), (12, 0.85))
    )
    return Family(
        name="shapes-tiny",
        title="made up",
        network="small_resnet",
        data="shapes",
        recipe=str(recipe),
        points=points,
        source="made up",
        measured=True,
        num_train=TRAIN,
        num_val=VAL,
        seed_sd=0.01,
    )


@pytest.fixture(scope="session")
def recipe(family: Family) -> TrainConfig:
    return family_recipe(family)


@pytest.fixture(scope="session")
def pace() -> Pace:
    """A machine that trains 96 images of 24 px in 9.6 s."""
    return Pace(
        machine="made up",
        basis="made up",
        measured=True,
        gpus=1,
        sides=(
            SidePace(side=16, step=20.0, decode=40.0),
            SidePace(side=24, step=10.0, decode=30.0, copy=1000.0),
        ),
        error=0.1,
        setup_seconds=3.0,
        first_step_seconds=1.0,
        validation_seconds=0.2,
        save_seconds=0.1,
        finish_seconds=0.5,
        cores=2,
        storage="jpeg",
    )
