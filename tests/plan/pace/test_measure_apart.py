"""A measurement in a process of its own: its figures come back, its mistakes too."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.plan.pace.measure_apart import measure_apart
from tests.shapes import write_betons

pytestmark = pytest.mark.slow


def _on(recipe: TrainConfig, train: Path, val: Path) -> TrainConfig:
    return replace(recipe, data=replace(recipe.data, train_dataset=str(train), val_dataset=str(val)))


def test_pace_is_measured_in_another_process(recipe: TrainConfig, tmp_path: Path) -> None:
    pace = measure_apart(_on(recipe, *write_betons(tmp_path, train=96, val=37)), 5.0)
    assert [side.side for side in pace.sides] == [16, 24]
    assert pace.measured and all(side.rate > 0 for side in pace.sides)


def test_mistake_in_the_process_is_one_line_here(recipe: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.beton") as caught:
        measure_apart(_on(recipe, tmp_path / "absent.beton", tmp_path / "absent.beton"), 5.0)
    assert "\n" not in str(caught.value)
