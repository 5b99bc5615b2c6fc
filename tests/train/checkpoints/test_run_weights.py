"""The weights that a run leaves: plain state_dicts that say what they are, and model.safetensors."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from engine.errors import UserError
from engine.models.build import build_model
from engine.runs.folder import MODEL
from engine.runs.model_card import CARD_KEY, ModelCard
from engine.train.checkpoints import checkpoint_file
from engine.train.checkpoints.weights_file import classes_in, read_weights
from tests.train.conftest import TINY, log_of, train_here

Options = Callable[..., list[str]]


@pytest.fixture(scope="module")
def trained(betons: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an average of the weights, which the verdict is about."""
    changed = {
        "data.train_dataset": betons[0],
        "data.val_dataset": betons[1],
        "logging.folder": tmp_path_factory.mktemp("runs"),
        "training.epochs": 1,
        "lr.lr_peak_epoch": 0.2,
        "training.ema_half_life": 1,
        "validation.lr_tta": True,
    }
    return train_here([f"--{key}={value}" for key, value in (TINY | changed).items()])[1]


@pytest.mark.parametrize("name", ["weights.pt", "weights_ema.pt", MODEL])
def test_weights_say_what_they_are(name: str, trained: Path, betons: tuple[Path, Path]) -> None:
    card = ModelCard.from_text(getattr(checkpoint_file.load(trained / name), CARD_KEY))
    (result,), (start,) = log_of(trained, "result"), log_of(trained, "start")
    averaged = "" if name == "weights.pt" else "ema_"
    assert card.extra == {}
    assert (card.arch, card.use_blurpool, card.averaged) == ("small_resnet", True, averaged != "")
    assert card.num_classes == len(card.classes or []) == 6
    assert (card.preprocessing.resolution, card.preprocessing.crop_law) == (32, "fused")
    assert card.preprocessing.mean == pytest.approx([0.485, 0.456, 0.406])
    assert card.preprocessing.exif == "ignore"
    assert [(one.resolution, one.tta, one.top1) for one in card.accuracies] == [
        (32, True, result[f"{averaged}top1"]),
        (32, False, result[f"{averaged}top1_no_tta"]),
        (24, False, result[f"{averaged}plain_top1"]),
    ]
    assert {one.images for one in card.accuracies} == {37}
    assert (card.run, card.train_data, card.val_data) == (
        trained.name,
        start["train_data"],
        start["val_data"],
    )
    assert ModelCard.from_text(card.to_text()) == card


def test_model_file_holds_the_judged_weights(trained: Path) -> None:
    judged, found = read_weights(trained / "weights_ema.pt"), read_weights(trained / MODEL)
    assert judged.keys() == found.keys() and all(torch.equal(judged[name], found[name]) for name in judged)
    assert classes_in(found) == classes_in(judged) is not None
    with safe_open(trained / MODEL, framework="pt") as file:
        assert file.metadata()["format"] == "pt"


def test_weights_stay_a_plain_state_dict(trained: Path) -> None:
    state = torch.load(trained / "weights.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    build_model("small_resnet", 6, use_blurpool=False).load_state_dict(state, strict=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "arch": 3}'])
def test_damaged_card_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ModelCard.from_text(text)


def test_file_with_a_damaged_card_is_refused_in_one_line(tmp_path: Path) -> None:
    save_file({"fc.weight": torch.zeros(1)}, tmp_path / "file.safetensors", metadata={CARD_KEY: "{}"})
    with pytest.raises(UserError, match=r"file\.safetensors: its card can't be read \(schema is missing\)"):
        checkpoint_file.load(tmp_path / "file.safetensors")
    save_file({"fc.weight": torch.zeros(1)}, tmp_path / "file.safetensors", metadata={"card": "another's"})
    assert list(checkpoint_file.load(tmp_path / "file.safetensors")) == ["fc.weight"]
