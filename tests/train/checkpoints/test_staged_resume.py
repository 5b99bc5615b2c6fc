"""Runs of several stages go on where they were left, to the bit, or begin later; what is not the same is refused."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.runs.run_writer import RunWriter
from engine.train.run import Run
from engine.train.trainer import Trainer
from tests.train.conftest import ROOT, Launch, command, log_of, train_here
from tests.train.staged import (
    FROM_AVERAGE,
    SECOND,
    changed,
    recipe_of,
    refusal,
    run_here,
    same_runs,
    stop_in,
    weights_of,
)

Options = Callable[..., list[str]]
Staged = Callable[..., list[str]]


@pytest.fixture
def staged(betons: tuple[Path, Path], tmp_path: Path) -> Staged:
    """See recipe_of."""
    return partial(recipe_of, tmp_path, betons)


@pytest.fixture(scope="module")
def whole(betons: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of two stages, to be compared with and copied."""
    folder = tmp_path_factory.mktemp("whole")
    run_here(recipe_of(folder, betons, [FROM_AVERAGE]))
    return folder / "runs" / "run"


# Where a run may end: a method, when, and how many finished epochs each stage's log has then.
ENDS: dict[str, tuple[type, str, Callable[..., bool], list[int]]] = {
    "before the first stage's result": (RunWriter, "finish", lambda *_: True, [2]),
    "between the stages": (Run, "__init__", lambda *arguments: arguments[3].number == 2, [2]),
    "in the second stage's first epoch": (
        Trainer, "train_epoch", lambda trainer, *_: trainer.config.training.epochs == 3, [2, 0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("resume", [pytest.param("its folder", marks=pytest.mark.slow), "auto"])
@pytest.mark.parametrize(
    "end", [end if end == "between the stages" else pytest.param(end, marks=pytest.mark.slow) for end in ENDS]
)
def test_interrupted_staged_run_resumes_to_the_same_weights(
    staged: Staged, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, resume: str
) -> None:
    argv, run = staged([FROM_AVERAGE]), tmp_path / "runs" / "run"
    if resume == "auto":
        argv.append("--training.resume=auto")
    owner, name, when, epochs = ENDS[end]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_in(patch, owner, name, when)
        run_here(argv)
    done = [len(log_of(run / f"stage{number}", "epoch")) for number in range(1, len(epochs) + 1)]
    assert done == epochs
    log = run / "stage1" / "log.jsonl"
    before, finished = log.read_bytes(), bool(log_of(run / "stage1", "result"))
    assert run_here(argv if resume == "auto" else [*argv, f"--training.resume={run}"]) == 0
    again = {"epoch", "steps"}
    for line in (json.loads(row) for row in before.splitlines()):
        assert line in [*log_of(run / "stage1", line["kind"])] or line["kind"] in again
    assert (log.read_bytes() == before) is finished, "a finished stage is left alone"
    assert [len(log_of(run / f"stage{number}", "result")) for number in (1, 2)] == [1, 1]
    same_runs(whole, run)


@pytest.mark.slow
def test_run_killed_in_stage_2_resumes_to_the_same_weights(
    staged: Staged, whole: Path, tmp_path: Path
) -> None:
    argv, run = staged([FROM_AVERAGE]), tmp_path / "runs" / "run"
    process = subprocess.Popen(command(argv), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while not (run / "stage2" / "checkpoints" / "last.pt").exists():
        assert process.poll() is None, "the run ended before its second stage's first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "stage2" / "weights.pt").exists()
    assert run_here([*argv, f"--training.resume={run}"]) == 0
    assert log_of(run / "stage2", "start")[-1]["resumed_at_epoch"] in (0, 1, 2)
    same_runs(whole, run)


@pytest.mark.slow
def test_written_configs_repeat_a_stage_and_the_whole_run(whole: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((whole / "stage2" / "config.yaml").read_text())
    assert config["model"]["weights"] == str(whole / "stage1" / "weights_ema.pt")
    assert "then" not in config and config["training"]["first_stage"] == 1
    where = [f"--logging.folder={tmp_path}"]
    run_here(["-C", str(whole / "stage2" / "config.yaml"), *where, "--logging.name=alone"])
    assert not changed(weights_of(whole / "stage2"), weights_of(tmp_path / "alone"))
    run_here(["-C", str(whole / "stages.yaml"), *where, "--logging.name=again"])
    same_runs(whole, tmp_path / "again")


def test_time_of_earlier_stages_counts_for_the_budget(staged: Staged, whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    shutil.rmtree(run / "stage2")
    log = run / "stage1" / "log.jsonl"
    *lines, result = log.read_text().splitlines()
    log.write_text("\n".join([*lines, json.dumps({**json.loads(result), "elapsed_seconds": 7200.0})]) + "\n")
    argv = staged([FROM_AVERAGE], budget__target_top1=0.0001, budget__minutes=119)
    assert run_here([*argv, f"--training.resume={run}"]) == 1
    (result_line,) = log_of(run / "stage2", "result")
    assert result_line["elapsed_seconds"] > 7200 and "missed by" in result_line["verdict"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_file_changed_after_a_finished_stage_is_refused_by_a_new_process(
    staged: Staged, betons: tuple[Path, Path], copy: Path, split: str
) -> None:
    shutil.rmtree(copy / "stage2")
    log = copy / "stage1" / "log.jsonl"
    start, *lines = log.read_text().splitlines()
    then = {**json.loads(start), f"{split}_data": "9 images, crc 00000000"}
    log.write_text("\n".join([json.dumps(then), *lines]) + "\n")
    path = betons[("train", "val").index(split)]
    problem = refusal([*staged([FROM_AVERAGE]), f"--training.resume={copy}"])
    assert f"{path} is another file than in an earlier stage (it had 9 images, crc 00000000" in problem
    assert not (copy / "stage2" / "weights.pt").exists()


def test_stages_know_the_classes_of_their_data(whole: Path) -> None:
    stages = yaml.safe_load((whole / "stages.yaml").read_text())
    (known,) = {line["classes"] for number in (1, 2) for line in log_of(whole / f"stage{number}", "start")}
    assert stages["data"]["classes"] == known
    for number in (1, 2):
        config = yaml.safe_load((whole / f"stage{number}" / "config.yaml").read_text())
        assert config["data"]["classes"] == known


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_resume_of_finished_staged_run_is_refused(staged: Staged, copy: Path) -> None:
    before = {path: path.read_bytes() for path in copy.glob("*/*.*")}
    message = refusal([*staged([FROM_AVERAGE]), f"--training.resume={copy}"])
    assert message == "training.resume: all 2 stages of the run are done; nothing is left to do"
    assert {path: path.read_bytes() for path in copy.glob("*/*.*")} == before


@pytest.mark.parametrize(
    ("then", "changes", "words"),
    [
        ([FROM_AVERAGE], {"training__seed": 5}, "in stage 1: training.resume: the run was started with training.seed"),
        ([{**FROM_AVERAGE, "lr": {"lr": 0.02}}], {}, "in stage 2: training.resume: the run was started with lr."),
        ([SECOND], {}, "in stage 2: training.resume: the run was started to continue from stage1/weights_ema.pt"),
        ([FROM_AVERAGE, SECOND], {}, "the run was started with 2 stages, not 3"),
        ([], {}, "is a run of several stages: pass its recipe"),
        ([FROM_AVERAGE], {"training__first_stage": 2}, "started with training.first_stage=1, not 2"),
    ],
)  # fmt: skip
def test_resume_with_another_recipe_is_refused(
    staged: Staged, copy: Path, then: list[dict[str, Any]], changes: dict[str, Any], words: str
) -> None:
    shutil.rmtree(copy / "stage2")
    assert words in refusal([*staged(then, **changes), f"--training.resume={copy}"])


def test_resume_from_a_stage_or_other_folder_is_refused(staged: Staged, copy: Path, tmp_path: Path) -> None:
    argv = staged([FROM_AVERAGE])
    assert f"pass {copy}, the run that it is a stage of" in refusal(
        [*argv, f"--training.resume={copy / 'stage1'}"]
    )
    assert "is not a run of several stages" in refusal([*argv, f"--training.resume={tmp_path}"])


def test_name_of_a_staged_run_is_taken(staged: Staged, options: Options, copy: Path) -> None:
    for argv in (staged([FROM_AVERAGE]), options(training__epochs=1, lr__lr_peak_epoch=0)):
        taken = [*argv, f"--logging.folder={copy.parent}", "--logging.name=copy"]
        assert "copy holds a run already" in refusal(taken)


def test_run_started_at_stage_2_resumes_to_the_same_weights(
    staged: Staged, options: Options, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [f"--model.weights={whole / 'stage1' / 'checkpoints' / 'last.pt'}", "--training.first_stage=2"]
    argv, run = staged([FROM_AVERAGE]), tmp_path / "runs" / "run"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_in(patch, Trainer, "train_epoch", lambda *_: True)
        run_here([*argv, *given])
    assert run_here([*argv, f"--training.resume={run}"]) == 0
    assert sorted(path.name for path in run.iterdir()) == ["stage2", "stages.yaml"]
    assert not changed(weights_of(whole / "stage2"), weights_of(run / "stage2"))
    (result,) = log_of(run / "stage2", "result")
    assert (result["stage"], result["earlier_seconds"]) == (2, 0)


def test_eval_only_uses_the_last_stages_resolution(staged: Staged, whole: Path, tmp_path: Path) -> None:
    argv = staged([{**SECOND, "validation": {"resolution": 24}}], training__eval_only=True)
    run_here([*argv, f"--model.weights={whole / 'stage2' / 'weights.pt'}"])
    (result,) = log_of(tmp_path / "runs" / "run", "result")
    assert result["val_resolution"] == 24 and "stage" not in result


def test_run_started_from_weights_resumes_to_the_same_weights(
    options: Options, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [f"--model.weights={whole / 'stage1' / 'weights.pt'}"]
    _, undisturbed = train_here([*options(logging__name="undisturbed"), *given])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_in(patch, Trainer, "train_epoch", lambda _, epoch, *__: epoch == 1)
        train_here([*options(logging__name="stopped"), *given])
    stopped = tmp_path / "runs" / "stopped"
    train_here(options(training__resume=stopped))
    assert yaml.safe_load((stopped / "config.yaml").read_text())["model"]["weights"] == given[0].split("=")[1]
    assert not changed(weights_of(undisturbed), weights_of(stopped))


@pytest.mark.slow
def test_two_ranks_run_both_stages_and_resume(staged: Staged, launch: Launch, tmp_path: Path) -> None:
    argv, run = staged([FROM_AVERAGE]), tmp_path / "runs" / "run"
    done = launch(argv, ranks=2)
    assert done.returncode == 0, done.stderr
    whole = Path(shutil.copytree(run, tmp_path / "undisturbed"))
    assert log_of(run / "stage2", "start")[0]["world_size"] == 2
    assert done.stdout.count("stage 2 of 2: 3 epochs from ") == 1, "rank 0 alone talks"
    shutil.rmtree(run / "stage2")
    done = launch([*argv, f"--training.resume={run}"], ranks=2)
    assert done.returncode == 0, done.stderr
    same_runs(whole, run)
