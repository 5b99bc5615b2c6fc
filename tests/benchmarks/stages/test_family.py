"""The family stage: what it records of run folders, what it trains, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.stages import family
from benchmarks.stages.family import main
from engine.config.load import load_train_config, to_dict
from engine.errors import UserError
from engine.knowledge.measured_record import MeasuredFamily
from engine.runs.log_schema import EpochLine, LogLine, ResultLine, StartLine
from tests.shapes import write_betons
from tests.train.conftest import TINY


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    sections = {
        key: value for key, value in TINY.items() if key not in ("lr.lr_peak_epoch", "training.epochs")
    }
    sections |= {"lr.lr_peak_share": 0.25, "training.ema_half_life": 2, "plan.family": "tiny-shapes"}
    path.write_text("".join(f"{key}: {value}\n" for key, value in sections.items()))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def write_run(
    recipe: Path, folder: Path, epochs: int, seed: int, *options: str, finished: bool = True, **result: Any
) -> None:
    """A run folder as the trainer leaves it, of averaged weights."""
    data = ["--data.train_dataset=gone/t.beton", "--data.val_dataset=gone/v.beton"]
    length = [f"--training.epochs={epochs}", f"--training.seed={seed}"]
    config, name = load_train_config(["-C", str(recipe), *data, *length, *options])
    run = folder / f"any-{epochs}-{seed}"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    lines: list[LogLine] = [StartLine(recipe=name, num_train=60000, num_val=10000, precision="fp32")]
    for epoch in range(1, epochs + 1):
        lines.append(EpochLine(epoch=epoch, top1=0.1, ema_top1=0.8 * epoch / (epochs + 1), resolution=24))
    top1 = 0.8 * epochs / (epochs + 1)
    if finished:
        fields = {"elapsed_seconds": 90.0, "val_resolution": 32, "val_ratio": 1.0, "tta": True, **result}
        lines.append(ResultLine(top1=0.1, ema_top1=top1, **fields))
    (run / "log.jsonl").write_text("".join(json.dumps(line.to_json()) + "\n" for line in lines))


def record(recipe: Path, runs: Path, *options: str) -> MeasuredFamily:
    path = runs.parent / "record.json"
    words = [
        "-C",
        str(recipe),
        "--folder",
        str(runs),
        "--json",
        str(path),
        "--title",
        "t",
        "--data-name",
        "d",
    ]
    assert main([*words, *options]) == 0
    return MeasuredFamily.from_json(json.loads(path.read_text()))


def test_finished_runs_of_the_recipe_are_recorded(recipe: Path, runs: Path, tmp_path: Path) -> None:
    for epochs, seed in ((4, 1), (4, 0), (2, 0)):
        write_run(recipe, runs, epochs, seed, "--training.precision=bf16")
    write_run(recipe, runs, 8, 0, finished=False)
    write_run(recipe, runs, 9, 0, replans=2)
    other = tmp_path / "other.yaml"
    other.write_text(recipe.read_text())
    write_run(other, runs, 3, 0)
    found = record(recipe, runs)
    assert [(run.epochs, run.seed) for run in found.runs] == [(2, 0), (4, 0), (4, 1)]
    assert (found.name, found.title, found.data, found.recipe) == ("tiny-shapes", "t", "d", "tiny.yaml")
    assert (found.network, found.num_train, found.num_val) == ("small_resnet", 60000, 10000)
    assert (found.metric, found.measured_as) == ("ema_top1", "32 px, crop ratio 1, with flip TTA")
    run = found.runs[0]
    assert run.top1 == pytest.approx(0.8 * 2 / 3) and run.minutes == 1.5 and run.last_resolution == 24
    assert run.by_epoch == [[1, pytest.approx(0.8 / 3)], [2, run.top1]]
    assert run.differs == {"training.precision": "bf16"} and run.precision == "fp32"


def test_length_of_a_planned_run_is_its_timelines(recipe: Path, runs: Path) -> None:
    write_run(recipe, runs, 3, 0, "--training.timeline=0:2.5")
    write_run(recipe, runs, 2, 0, "--training.timeline=0:2")
    write_run(recipe, runs, 4, 0, "--training.timeline=0:4, 2:3")
    found = record(recipe, runs)
    assert [run.epochs for run in found.runs] == [2, 2.5], "the third changed its length on the way"
    assert [epoch for epoch, _ in found.runs[1].by_epoch] == [1, 2, 2.5]
    assert found.runs[1].differs == {"training.timeline": "0:LENGTH"}
    write_run(recipe, runs, 3, 1)
    with pytest.raises(UserError, match=r"differ in training\.timeline"):
        record(recipe, runs)


def test_record_keeps_runs_whose_folders_are_gone(recipe: Path, runs: Path) -> None:
    write_run(recipe, runs, 2, 0)
    record(recipe, runs)
    (runs / "any-2-0").rename(runs.parent / "away")
    write_run(recipe, runs, 3, 0)
    assert [run.epochs for run in record(recipe, runs, "--title", "").runs] == [2, 3]


def test_runs_that_differ_are_refused(recipe: Path, runs: Path) -> None:
    write_run(recipe, runs, 2, 0)
    write_run(recipe, runs, 3, 0, "--lr.lr=0.5")
    with pytest.raises(UserError, match=r"runs of 2 epochs, seed 0, and of 3, seed 0, differ in lr\.lr"):
        record(recipe, runs)


def test_folder_without_runs_is_refused(recipe: Path, runs: Path) -> None:
    with pytest.raises(UserError, match=r"holds no finished run of .*tiny\.yaml: give --epochs"):
        record(recipe, runs)


def test_new_family_needs_a_title(recipe: Path, runs: Path) -> None:
    write_run(recipe, runs, 2, 0)
    with pytest.raises(UserError, match="give --title and --data-name"):
        record(recipe, runs, "--title", "")


def test_recipe_without_a_family_is_refused(recipe: Path, runs: Path) -> None:
    recipe.write_text(recipe.read_text().replace("plan.family: tiny-shapes\n", ""))
    with pytest.raises(UserError, match=r"names no family: set plan\.family"):
        record(recipe, runs)


def test_file_that_is_no_record_is_refused(recipe: Path, runs: Path) -> None:
    (runs.parent / "record.json").write_text("[1]")
    with pytest.raises(UserError, match="holds no family's record"):
        record(recipe, runs)


def test_missing_runs_alone_are_trained(recipe: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(recipe, runs, 2, 0)
    asked = []

    def train(options: object, config: object, epochs: float, seed: int) -> int:
        asked.append((epochs, seed))
        write_run(recipe, runs, round(epochs), seed)
        return 1

    monkeypatch.setattr(family, "_train", train)
    found = record(recipe, runs, "--epochs", "2,3", "--seeds", "0,7")
    assert asked == [(2, 7), (3, 0), (3, 7)]
    assert [(run.epochs, run.seed) for run in found.runs] == [(2, 0), (2, 7), (3, 0), (3, 7)]


@pytest.mark.slow
def test_family_is_trained_by_the_script(recipe: Path, runs: Path) -> None:
    betons = write_betons(runs.parent, train=24, val=12)
    data = [f"--data.train_dataset={betons[0]}", f"--data.val_dataset={betons[1]}"]
    found = record(recipe, runs, "--epochs", "2,4", "--seeds", "3", "--", *data)
    assert [(run.epochs, run.seed) for run in found.runs] == [(2, 3), (4, 3)]
    assert "train.beton, 24 images stored as proportion, sha256 " in found.files[0]
    assert [len(run.by_epoch) for run in found.runs] == [2, 4] and found.runs[0].revision
