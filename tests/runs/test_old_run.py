"""A run begun by older code (old_run/) is read, drawn and resumed, and ends as the old code would have ended it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.cli.compare import main as compare
from engine.cli.report import main as report
from engine.config.load import load_train_stages
from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.convert.conversion import convert
from engine.models.build import MODELS
from engine.report.run_display import RunDisplay
from engine.runs import folder as names
from engine.runs.log_reader import build_history, read_log
from engine.runs.log_schema import SCHEMA, EpochLine, StartLine
from engine.train.ranks.group import process_group
from engine.train.recipe.recipe_run import run_recipe
from tests.runs.old_images import NETWORK, tiny_network, write_images

OLD = Path(__file__).with_name("old_run")
UNINTERRUPTED = OLD / "uninterrupted.jsonl"

# Other machines round differently; on the one that wrote it the losses are the same to the bit.
TOLERANCE = 1e-3

# How long something took, and what the host used for it.
MEASURED = ("seconds", "per_second", "memory_mb")


@pytest.fixture
def old_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The network of the old run among those that model.arch may name."""
    monkeypatch.setitem(MODELS._entries, NETWORK, tiny_network)
    yield


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The run's folder with nothing in it but what the old code left."""
    shutil.copytree(OLD, tmp_path / "run")
    (tmp_path / "run" / UNINTERRUPTED.name).unlink()
    return tmp_path / "run"


def test_old_log_has_every_key_in_its_schema() -> None:
    for path in (OLD / names.LOG, UNINTERRUPTED):
        lines, unreadable = read_log(path)
        assert (unreadable, len(lines)) == (0, len(path.read_text().splitlines()))
        for line in lines:
            assert line.extra == {}
            assert not isinstance(line, EpochLine) or (line.limits is not None and line.limits.extra == {})


def test_old_log_round_trip_is_unchanged() -> None:
    rows = UNINTERRUPTED.read_text().splitlines()
    assert [json.dumps(line.to_json()) for line in read_log(UNINTERRUPTED)[0]] == rows


def test_old_log_is_drawn_and_compared(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report([str(run)]) == 0
    page = (run / names.REPORT).read_text()
    assert "Epoch 2 of 5" in page and NETWORK in page
    assert compare([str(run)]) == 0
    assert "epoch 2 of 5" in capsys.readouterr().out


def test_resumed_old_run_equals_the_uninterrupted_one(
    run: Path, old_network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SourceConfig(path=str(write_images(tmp_path / "images")))
    paths = convert(
        WriteConfig(source=source, output=OutputConfig(folder=str(tmp_path), format="raw", num_workers=1))
    )
    argv = ["-C", str(run / names.CONFIG), f"--training.resume={run}"]
    argv += [f"--data.{split}_dataset={paths[split]}" for split in ("train", "val")]
    stages, recipe = load_train_stages(argv)
    # With 4 channels in channels_last memory, torch's oneDNN convolutions write beyond their buffers on CPUs without
    # AVX-512 (torch 2.15): results change from run to run, and the process may end.
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    with process_group(stages[0].training.device) as ranks:
        assert run_recipe(stages, recipe, ranks, RunDisplay()) == 0
    lines, unreadable = read_log(run / names.LOG)
    ours, theirs = build_history(lines), build_history(read_log(UNINTERRUPTED)[0])
    assert unreadable == 0
    assert all(line.extra == {} for line in lines)
    assert [line.schema for line in lines if isinstance(line, StartLine)] == [None, SCHEMA]
    assert (ours.start.resumed_at_epoch, ours.start.resumed_at_step, ours.resumed_at) == (2, 5, [2])
    for mine, other in zip(ours.epochs, theirs.epochs, strict=True):
        _same(_computed(mine.to_json()), _computed(other.to_json()))
    for mine_steps, other_steps in zip(ours.steps, theirs.steps, strict=True):
        _same(_computed(mine_steps.to_json()), _computed(other_steps.to_json()))
    assert ours.result is not None and theirs.result is not None
    _same(_computed(ours.result.to_json()), _computed(theirs.result.to_json()))
    assert names.checkpoints_of(run)[0].name == names.checkpoint_name(5, 8)
    assert {names.REPORT, names.WEIGHTS, names.WEIGHTS_EMA} <= {path.name for path in run.iterdir()}


def _computed(line: dict[str, Any]) -> dict[str, Any]:
    """What a line says of the training itself, not of how long it took.

    Nor the plain result and the crops' names: the plain crop was another one in the old code.
    """
    beside = ("time", "limits", "limited_by", "verdict", "val_crop_law")
    return {
        key: value
        for key, value in line.items()
        if key not in beside and "plain_" not in key and not key.endswith(MEASURED)
    }


def _same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The same keys in the same order; whole numbers and words alike, others to the tolerance."""
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        if isinstance(value, float):
            assert ours[key] == pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE), key
        else:
            assert ours[key] == value, key
