"""Two runs with random weights and their validation file: what the demo is started with."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.runs.folder import CONFIG
from engine.runs.model_card import CardAccuracy
from tests.predict.conftest import card, save_run
from tests.shapes import CLASSES, write_betons


@pytest.fixture(scope="session")
def shown_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Their config.yaml names the validation file, of 37 images of six classes."""
    folder = tmp_path_factory.mktemp("demo")
    val = write_betons(folder)[1]
    reached = [CardAccuracy(top1=0.625, top5=0.99, images=37, resolution=32, tta=True)]
    of = replace(card(list(CLASSES)), accuracies=reached, recipe="tiny", seed=3, license="free for research")
    made = [save_run(folder / name, of, seed) for seed, name in enumerate(("one", "two"))]
    for run in made:
        (run / CONFIG).write_text(f"data:\n  val_dataset: {val}\n")
    return made
