"""A recipe of several stages: each is a run of its own that starts from the weights of the one before."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.conftest import log_of
from tests.train.staged import (
    FIXRES,
    FROM_AVERAGE,
    changed,
    recipe_of,
    refusal,
    run_here,
    weights_of,
)

Staged = Callable[..., list[str]]


@pytest.fixture
def staged(betons: tuple[Path, Path], tmp_path: Path) -> Staged:
    """See recipe_of."""
    return partial(recipe_of, tmp_path, betons)


def test_each_stage_has_a_run_folder_inside_the_run(
    staged: Staged, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_here(staged([FROM_AVERAGE], budget__target_top1=0.01, budget__minutes=1e-6))
    run = tmp_path / "runs" / "run"
    assert sorted(path.name for path in run.iterdir()) == ["stage1", "stage2", "stages.yaml"]
    for stage in (run / "stage1", run / "stage2"):
        assert {path.name for path in stage.iterdir()} - {"record.json"} == {
            "config.yaml", "log.jsonl", "report.html", "checkpoints", "weights.pt", "weights_ema.pt",
            "model.safetensors",
        }  # fmt: skip
    assert [(run / f"stage{number}" / "record.json").exists() for number in (1, 2)] == [False, True]
    first, second = (log_of(run / f"stage{number}", "epoch") for number in (1, 2))
    assert [entry["epoch"] for entry in first] == [1, 2] and [entry["epoch"] for entry in second] == [1, 2, 3]
    assert [entry["global_batch"] for entry in first + second] == [16, 16, 12, 12, 12]
    assert {entry["resolution"] for entry in second} == {24}
    assert {(entry["stage"], entry["stages"]) for entry in second} == {(2, 2)}
    # The clock goes on, and the promise is the last stage's to keep.
    (told,), (result,) = (log_of(run / f"stage{number}", "result") for number in (1, 2))
    assert told["elapsed_seconds"] == result["earlier_seconds"] < result["elapsed_seconds"]
    assert (told["met"], result["met"], code) == (None, False, 1)
    out = capsys.readouterr().out
    assert f"stage 2 of 2: 3 epochs from {run / 'stage1' / 'weights_ema.pt'}" in out
    assert "stage 2 of 2  epoch 3/3" in out and "earlier stages included" in out
    assert "stage 2 of 2" in (run / "stage2" / "report.html").read_text()


@pytest.mark.parametrize("optimizer", ["sgd", "lamb"])
def test_fixres_stage_changes_only_head_and_last_norm(staged: Staged, tmp_path: Path, optimizer: str) -> None:
    techniques = {"training__clip_norm": 1, "training__nonfinite": "skip", "training__sam_rho": 0.05}
    run_here(staged([FIXRES], training__epochs=1, lr__lr_peak_epoch=0, training__optimizer=optimizer,
                    model__stochastic_depth=0.3, **techniques))  # fmt: skip
    before, after = (tmp_path / "runs" / "run" / f"stage{number}" for number in (1, 2))
    head = {"fc.weight", "fc.bias", "layers.2.bn2.weight", "layers.2.bn2.bias"}
    statistics = {f"layers.2.bn2.{kind}" for kind in ("running_mean", "running_var", "num_batches_tracked")}
    for name in ("weights.pt", "weights_ema.pt"):
        assert changed(weights_of(before), weights_of(after, name)) == head | statistics
    assert {entry["resolution"] for entry in log_of(after, "epoch")} == {32}


def test_stage_with_use_ema_starts_from_ema_weights(staged: Staged, tmp_path: Path) -> None:
    average = {
        "model": {"train_only": "head", "use_ema": True},
        "training": {"epochs": 1},
        "lr.lr_peak_epoch": 0,
    }
    run_here(staged([average]))
    first, second = (tmp_path / "runs" / "run" / f"stage{number}" for number in (1, 2))
    frozen = "layers.0.bn1.weight"
    assert torch.equal(weights_of(second)[frozen], weights_of(first, "weights_ema.pt")[frozen])
    assert not torch.equal(weights_of(second)[frozen], weights_of(first)[frozen])


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"training": {"batch_size": 97}}, "in stage 2: training.batch_size 97 (global) is more than the 96"),
        ({"data": {"train_dataset": "gone.beton"}}, "in stage 2: cannot "),
        ({"training": {"precision": "fp16"}}, "in stage 2: training.precision fp16 needs a GPU"),
    ],
)
def test_mistake_in_a_later_stage_is_refused_before_the_first(
    staged: Staged, tmp_path: Path, item: dict[str, Any], words: str
) -> None:
    assert words in refusal(staged([item]))
    assert not (tmp_path / "runs").exists()
