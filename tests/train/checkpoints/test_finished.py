"""A finished run's name, started again with training.resume=auto: the same run, another one, or a longer one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config.load import load_train_stages
from engine.config.train.train_config import LrConfig, ResolutionConfig
from engine.errors import UserError
from engine.train.checkpoints import store
from engine.train.recipe.recipe_start import Start, find_start
from engine.train.schedules import same_so_far
from tests.train.conftest import TINY, log_of
from tests.train.staged import SECOND, recipe_of, run_here

Options = Callable[..., list[str]]

# Its schedule does not depend on the number of epochs.
STEADY = {
    **TINY,
    "training.epochs": 1,
    "lr.lr_schedule_type": "constant",
    "resolution.min_res": 16,
    "resolution.max_res": 16,
    "validation.resolution": 16,
    "validation.plain_resolution": 16,
}


def _argv(betons: tuple[Path, Path], folder: Path, **changes: Any) -> list[str]:
    named = {"logging.folder": folder, "logging.name": "run", "training.resume": "auto"}
    data = {"data.train_dataset": betons[0], "data.val_dataset": betons[1]}
    merged = {**STEADY, **data, **named, **{key.replace("__", "."): value for key, value in changes.items()}}
    return [f"--{key}={value}" for key, value in merged.items()]


@pytest.fixture(scope="module")
def finished(betons: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run folders, with a finished run of one epoch in it that missed its target."""
    folder = tmp_path_factory.mktemp("finished")
    assert run_here(_argv(betons, folder, budget__target_top1=0.99)) == 1
    return folder


@pytest.fixture
def start(betons: tuple[Path, Path], finished: Path) -> Callable[..., Start]:
    def begin(folder: Path = finished, **changes: Any) -> Start:
        return find_start(load_train_stages(_argv(betons, folder, **changes))[0])

    return begin


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__arch": "resnet18"}, r"model\.arch=small_resnet, not resnet18: change it back, or start another"),
        (
            {"lr__lr": 0.5, "training__seed": 3},
            r"lr\.lr=0\.05, not 0\.5; training\.seed=0, not 3",
        ),
        ({"data__train_dataset": "/nowhere"}, "cannot open /nowhere"),
        ({"data__val_dataset": "/nowhere"}, "cannot open /nowhere"),
        ({"lr__lr_schedule_type": "cosine", "training__epochs": 2}, "cosine"),
    ],
)  # fmt: skip
def test_other_run_under_a_finished_name_is_refused(
    start: Callable[..., Start], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        start(**changes)


def test_other_data_under_a_finished_name_are_refused(
    start: Callable[..., Start], betons: tuple[Path, Path]
) -> None:
    with pytest.raises(UserError, match=r"data\.train_dataset is not the file.*another logging\.name"):
        start(data__train_dataset=betons[1])


def test_finished_run_keeps_its_exit_code(start: Callable[..., Start]) -> None:
    assert start().code == 1
    assert start(budget__target_top1=0.99).code == 1


def test_finished_run_is_judged_by_a_new_target(
    start: Callable[..., Start], capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(budget__target_top1=0.001).code == 0
    assert start(budget__target_top1=1).code == 1
    out = capsys.readouterr().out
    assert "target met" in out and "target missed" in out
    # The limit of now, beside the target of then.
    assert start(budget__minutes=600).code == 1


def test_finished_run_without_checkpoints_compares_options(
    start: Callable[..., Start], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished / "run", tmp_path / "run")
    for path in store.newest(tmp_path / "run"):
        path.unlink()
    assert start(tmp_path).code == 1
    assert "has no checkpoints left: its data are not compared" in capsys.readouterr().out
    for changes in ({"lr__lr": 0.5}, {"training__epochs": 2}):
        with pytest.raises(UserError, match="was started with"):
            start(tmp_path, **changes)


def test_finished_run_goes_on_to_more_epochs(
    betons: tuple[Path, Path], finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished / "run", tmp_path / "run")
    longer = _argv(betons, tmp_path, training__epochs=2)
    run_here(longer)
    assert [line["epoch"] for line in log_of(tmp_path / "run", "epoch")][-1] == 2
    run_here(_argv(betons, tmp_path, training__epochs=2, logging__name="whole"))
    one, other = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("run", "whole"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert find_start(load_train_stages(longer)[0]).code == 0
    with pytest.raises(UserError, match=r"training\.epochs=2, not 1"):
        find_start(load_train_stages(_argv(betons, tmp_path))[0])


@pytest.mark.parametrize(
    ("lr", "begun", "same"),
    [
        ({"lr_schedule_type": "step", "step_length": 2}, 8, True),
        ({"lr_schedule_type": "constant"}, 8, True),
        ({"lr_schedule_type": "cosine", "lr_peak_epoch": 2}, 2, True),
        ({"lr_schedule_type": "cosine", "lr_peak_epoch": 2}, 3, False),
        ({"lr_schedule_type": "cyclic", "lr_peak_share": 0.5}, 1, False),
    ],
)
def test_schedules_of_two_lengths_are_compared_so_far(lr: dict[str, Any], begun: int, same: bool) -> None:
    assert same_so_far(LrConfig(**lr), ResolutionConfig(), (8, 16), begun) is same
    growing = ResolutionConfig(min_res=64, end_ramp=0.5)
    assert not same_so_far(LrConfig(lr_schedule_type="constant"), growing, (8, 16), 8)


@pytest.mark.slow
def test_finished_staged_run_compares_stages_and_goes_on(betons: tuple[Path, Path], tmp_path: Path) -> None:
    second = {**SECOND, "lr": {"lr": 0.01, "lr_schedule_type": "constant"}}
    second["training"] = {**SECOND["training"], "epochs": 1}

    def stages(*then: dict[str, Any], **changes: Any) -> list[str]:
        return [*recipe_of(tmp_path, betons, list(then), **changes), "--training.resume=auto"]

    def begin(*then: dict[str, Any], **changes: Any) -> Start:
        return find_start(load_train_stages(stages(*then, **changes))[0])

    run_here(stages(second))
    assert begin(second).code == 0
    with pytest.raises(UserError, match=r"in stage 1: .*training\.seed=0, not 5"):
        begin(second, training__seed=5)
    with pytest.raises(UserError, match="started with 2 stages, not 3"):
        run_here(stages(second, second))
    with pytest.raises(UserError, match=r"in stage 2: .*label_smoothing"):
        begin({**second, "training": {**second["training"], "label_smoothing": 0.2}})
    with pytest.raises(UserError, match=r"in stage 1: .*data\.train_dataset is not the file"):
        begin(second, data__train_dataset=str(betons[1]))
    longer = {**second, "training": {**second["training"], "epochs": 2}}
    run_here(stages(longer))
    assert log_of(tmp_path / "runs" / "run" / "stage2", "epoch")[-1]["epoch"] == 2
    assert begin(longer).code == 0


def test_options_that_change_no_result_may_differ(start: Callable[..., Start]) -> None:
    """Options that never change the result may differ, as they may for an unfinished run."""
    assert start(data__num_workers=1, validation__every=3, checkpoint__keep=1).code == 1


def test_more_epochs_of_an_adapted_run_are_refused(betons: tuple[Path, Path], finished: Path) -> None:
    argv = _argv(betons, finished, training__epochs=2, budget__adapt=True, budget__minutes=5)
    with pytest.raises(UserError, match=r"training\.epochs=1, not 2"):
        find_start(load_train_stages(argv)[0])
