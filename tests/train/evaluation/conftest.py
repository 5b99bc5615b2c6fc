"""A trained run, and evaluations of its weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.train.conftest import TINY, log_of, train_here

Options = Callable[..., list[str]]


@pytest.fixture(scope="session")
def trained(betons: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that kept an average of its weights."""
    data = {"data.train_dataset": betons[0], "data.val_dataset": betons[1]}
    extra = {"training.epochs": 4, "training.ema_half_life": 4, "logging.name": "trained"}
    folder = {"logging.folder": tmp_path_factory.mktemp("trained")}
    return train_here([f"--{key}={value}" for key, value in {**TINY, **data, **extra, **folder}.items()])[1]


@pytest.fixture
def evaluate(options: Options, trained: Path) -> Callable[..., tuple[dict[str, Any], dict[str, Any]]]:
    """Evaluate the run's weights, or others; returns the result line and evaluation.json."""

    def run(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        given = {"model__weights": trained / "weights.pt", "data__train_dataset": "", **changes}
        _, folder = train_here(options(training__eval_only=True, **given))
        return log_of(folder, "result")[0], json.loads((folder / "evaluation.json").read_text())

    return run
