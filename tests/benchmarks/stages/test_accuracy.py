"""The accuracy stage: one training for each seed, and records that grow."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records.accuracy_table import page
from benchmarks.stages.accuracy import main
from engine.errors import UserError
from tests.shapes import write_betons
from tests.train.conftest import TINY


@pytest.fixture(scope="module")
def betons(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_betons(tmp_path_factory.mktemp("accuracy"), train=24, val=12)


@pytest.fixture
def arguments(betons: tuple[Path, Path], tmp_path: Path) -> list[str]:
    """A recipe of one epoch with averaged weights, and where its record goes."""
    recipe = tmp_path / "tiny.yaml"
    sections = {
        **{key: value for key, value in TINY.items() if key != "lr.lr_peak_epoch"},
        "training.epochs": 1,
        "training.batch_size": 8,
        "training.ema_half_life": 2,
        "lr.lr_peak_share": 0.5,
        "budget.target_top1": 1,
    }
    recipe.write_text("".join(f"{key}: {value}\n" for key, value in sections.items()))
    data = [f"--data.train_dataset={betons[0]}", f"--data.val_dataset={betons[1]}"]
    return [
        "-C",
        str(recipe),
        "--folder",
        str(tmp_path / "runs"),
        "--json",
        f"{tmp_path}/a.json",
        "--",
        *data,
    ]


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_each_seed_is_trained_once_and_recorded(
    arguments: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # It misses its target, which is recorded all the same.
    assert main(["--seeds", "3", *arguments]) == 1
    assert main(["--seeds", "3,5", *arguments]) == 1
    assert "seed 3 is in" in capfd.readouterr().out
    records = _read(tmp_path / "a.json")
    assert [record["seed"] for record in records] == [3, 5]
    assert len(list((tmp_path / "runs").iterdir())) == 2
    for record in records:
        (folder,) = (tmp_path / "runs").glob(f"tiny-seed{record['seed']}-*")
        log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        (result,) = (line for line in log if line["kind"] == "result")
        assert record["top1_tta"] == result["ema_top1"] and record["last_top1_tta"] == result["top1"]
        assert record["top1_no_tta"] == result["ema_top1_no_tta"]
        assert record["last_top1_no_tta"] == result["top1_no_tta"]
        assert record["epochs"] == [line for line in log if line["kind"] == "epoch"]
        assert record["config"]["training"]["seed"] == record["seed"]
        assert 0 < record["train_minutes"] < record["minutes"]
        assert "train.beton, 24 images stored as proportion, sha256 " in record["data"]
    assert (tmp_path / "a.md").read_text() == page(records)

    with pytest.raises(UserError, match=r"a\.json holds other runs"):
        main(["--seeds", "7", *arguments, "--lr.lr=0.07"])
    assert len(list((tmp_path / "runs").iterdir())) == 2, "refused before anything was trained"


@pytest.mark.slow
def test_failed_run_ends_the_measurement_with_its_code(
    arguments: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--seeds", "0,1", *arguments, "--training.batch_size=1000"]) == 2
    assert "training.batch_size 1000" in capfd.readouterr().err
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--seeds", "0,x"], "whole number"),
        (["--seeds", "-1"], "--seeds"),
        (["-C", "gone.yaml"], r"gone\.yaml"),
    ],
)
def test_bad_option_is_refused_in_one_line(arguments: list[str], change: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        main([*change, *arguments])
    assert "\n" not in str(caught.value)


def test_recipe_of_several_stages_is_refused_in_one_line(arguments: list[str], tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(recipe.read_text() + "then:\n  - lr.lr: 0.01\n")
    with pytest.raises(UserError, match="has 2 stages"):
        main(arguments)


def test_file_of_other_records_is_not_overwritten(arguments: list[str], tmp_path: Path) -> None:
    for content, message in (("no records", "holds no records"), ('{"stage": "loader"}\n', "other runs")):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(UserError, match=message):
            main(arguments)
        assert (tmp_path / "a.json").read_text() == content
