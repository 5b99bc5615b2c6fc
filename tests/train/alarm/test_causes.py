"""Each likely cause of an alarm is found where it is there, and ruled out where it is not."""

import json
from pathlib import Path

import pytest

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.runs.log_schema import EpochLine
from engine.train.alarm.causes import Facts, likely_causes

GOOD = Facts(
    train_classes=["a", "b"],
    val_classes=["a", "b"],
    num_classes=1000,
    num_train=1281167,
    precision="fp32",
)


def config_with(repository: Path, *options: str) -> TrainConfig:
    data = ["--data.train_dataset=t.beton", "--data.val_dataset=v.beton"]
    return load_train_config(["-C", str(repository / "rn50_configs/mosaic_mild.yaml"), *data, *options])[0]


def causes_of(config: TrainConfig, facts: Facts = GOOD, **fields: object) -> list[str]:
    values = {"epoch": 10, "top1": 0.4, "ema_top1": 0.4, "images": 1281000, "train_loss": 3.0, **fields}
    return likely_causes(config, facts, EpochLine.from_json(values), steps=6000, limit=0.5)


def test_nothing_wrong_leaves_only_what_the_user_has_to_check(repository: Path) -> None:
    check, ruled_out = causes_of(config_with(repository))
    assert "--validation.reference" in check
    assert ruled_out == (
        "ruled out: learning rate against batch size, averaging of the weights, class lists of train and val, label "
        "order, options other than the recipe's, precision fp32"
    )


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (
            "--training.batch_size=256",
            "learning rate 2.048 with batch 256, in the recipe 2.048 with batch 2048: try",
        ),
        ("--lr.lr=0.2", "try --lr.lr=2.05"),
        ("--training.ema_half_life=9000", "training.ema_half_life 9000 is longer than the 6000 steps so far"),
        (
            "--augmentation.min_scale=0.9",
            "options differ from the recipe's: augmentation.min_scale 0.9 (recipe: ",
        ),
    ],
)
def test_wrong_option_is_the_first_cause(repository: Path, option: str, words: str) -> None:
    assert words in causes_of(config_with(repository, option))[0]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"val_classes": ["b", "a"]}, "the same classes in another order"),
        ({"val_classes": ["a", "c"]}, "different classes, such as b"),
        ({"num_train": 100_000}, "100,000 training images, the family's runs had 1,281,167"),
    ],
)
def test_wrong_data_is_the_first_cause(repository: Path, facts: dict[str, object], words: str) -> None:
    wrong = Facts(**{**vars(GOOD), **facts})
    assert words in causes_of(config_with(repository), wrong)[0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"top1": 0.0015, "ema_top1": 0.0015},
            "its labels may be in another order; check with `python -m engine audit",
        ),
        ({"top1": 0.6}, "the averaged weights are far behind the weights (40.00%, 60.00%)"),
        ({"skipped_steps": 7}, "7 steps of this epoch had non-finite gradients"),
        ({"skipped": 99_000}, "99000 corrupt images were skipped"),
    ],
)
def test_figures_of_the_epoch_show_the_cause(repository: Path, fields: dict[str, object], words: str) -> None:
    assert words in causes_of(config_with(repository), GOOD, **fields)[0]


def test_unnamed_classes_and_bf16_are_left_to_check(repository: Path) -> None:
    found = causes_of(config_with(repository), Facts(precision="bf16"))
    assert "does not name its classes" in found[0] and "precision bf16" in found[2]


@pytest.mark.parametrize(("gap", "first"), [(-4.0, True), (0.1, False)])
def test_evaluation_beside_the_run_shows_other_pixels(
    repository: Path, tmp_path: Path, gap: float, first: bool
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "evaluation").mkdir()
    reference = {"images": 9, "resolution": 224, "short_side": 232, "gap_points": gap}
    calibration = {"ece": 0.1, "bins": []}
    content = {"file": "v.beton", "top1": 0.4, "resolutions": [], "calibration": calibration, "classes": []}
    text = json.dumps({**content, "confusions": [], "reference": reference})
    (tmp_path / "evaluation" / "evaluation.json").write_text(text)
    found = causes_of(config_with(repository), Facts(**{**vars(GOOD), "folder": tmp_path / "run"}))
    assert found[0].startswith("crop or colours: as decoded here") == first
    assert ("crop and colours" in found[-1]) != first


def test_damaged_evaluation_is_passed_over(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text("{")
    found = causes_of(config_with(repository), Facts(**{**vars(GOOD), "folder": tmp_path}))
    assert "--validation.reference" in found[0]
