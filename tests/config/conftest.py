"""How the tests of the configuration ask for one, or for the one line that refuses it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError

DATA = ("--data.train_dataset=train.beton", "--data.val_dataset=val.beton")

Recipe = Callable[..., str]


def train(*argv: str) -> TrainConfig:
    """The configuration of these arguments, with both data files named."""
    return load_train_config([*DATA, *argv])[0]


def refusal(*argv: str) -> str:
    """The one line that these arguments are refused with."""
    with pytest.raises(UserError) as caught:
        train(*argv)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Write a YAML file and return its path as text."""

    def write(text: str, name: str = "recipe.yaml") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write
