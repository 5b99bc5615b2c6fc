"""What files say of their network: a card, a recipe beside them, a checkpoint's configuration, or nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import UserError
from engine.runs.model_card import CARD_KEY
from engine.train.checkpoints.checkpoint_file import save
from engine.train.checkpoints.known_network import know_network
from engine.train.checkpoints.weights_file import with_classes

STATE = {"fc.weight": torch.zeros(2, 3)}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model": {"arch": "resnet18"}, "training": {"use_blurpool": True}}, ("resnet18", True)),
        ({"model": {"arch": 3}, "training": {"use_blurpool": "yes"}}, (None, None)),
        ({"model": 3, "training": {}}, (None, None)),
        ({"model": {}}, (None, None)),
        ("resnet18", (None, None)),
        ([], (None, None)),
    ],
)
def test_checkpoint_of_anybody_says_what_it_can(tmp_path: Path, config: Any, said: tuple[Any, Any]) -> None:
    save(tmp_path / "a.pt", {"model": STATE, "config": config})
    known = know_network(tmp_path / "a.pt", "loss.teacher")
    assert (known.arch, known.use_blurpool) == said


def test_card_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    state = with_classes(STATE, ["a", "b"])
    setattr(state, CARD_KEY, '{"schema": 99}')
    save(tmp_path / "a.pt", state)
    with pytest.raises(UserError, match=r"^average: .*a\.pt: its card can't be read .*update this program"):
        know_network(tmp_path / "a.pt", "average")


def test_average_is_meant_where_a_run_is_named(tmp_path: Path) -> None:
    """An unfinished run has only checkpoints; of a file the raw weights are meant."""
    save(tmp_path / "checkpoints" / "last.pt", {"model": STATE, "ema": STATE})
    assert know_network(tmp_path, "average").use_ema
    assert not know_network(tmp_path / "checkpoints" / "last.pt", "average").use_ema
