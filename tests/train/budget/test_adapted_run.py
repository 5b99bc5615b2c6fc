"""Runs that keep to a time limit, on real JPEGs: their length changes, and config.yaml repeats them to the bit."""

import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
import yaml

from engine.train.checkpoints.store import load_newest
from tests.train.budget.simulated import SimulatedMachine
from tests.train.conftest import ROOT, Launch, command, log_of, train_here

Options = Callable[..., list[str]]


def _same_weights(first: Path, second: Path) -> bool:
    one, other = (torch.load(folder / "weights.pt", weights_only=True) for folder in (first, second))
    return all(torch.equal(one[name], other[name]) for name in one)


def _repeated(folder: Path) -> Path:
    code, again = train_here(["-C", str(folder / "config.yaml")])
    assert code == 0
    return again


@pytest.mark.slow
def test_early_run_becomes_longer_and_config_repeats_it(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    SimulatedMachine(monkeypatch, lambda _: 0.25)
    # An epoch takes 1.5 s: there is time for nine.
    code, folder = train_here(options(budget__minutes=0.25, budget__adapt=True, logging__name="longer"))
    replans, epochs, (result,) = (log_of(folder, kind) for kind in ("replan", "epoch", "result"))
    assert code == 0 and replans and result["replans"] == len(replans)
    assert replans[0]["late_seconds"] < 0 and 8 < replans[-1]["length"] < 9.5
    assert len(epochs) == epochs[-1]["epochs"] == math.ceil(replans[-1]["length"])
    assert 0.95 * 15 <= result["elapsed_seconds"] <= 15 * 1.02
    assert epochs[-1]["schedule"] == pytest.approx(1, abs=0.02)
    assert sum(epoch["images"] for epoch in epochs) == 16 * round(6 * result["length"])
    sides = [epoch["resolution"] for epoch in epochs]
    assert sides == sorted(sides) and sides[-1] == 24
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["budget"]["adapt"] is False and config["training"]["timeline"]
    again = _repeated(folder)
    assert _same_weights(folder, again)
    assert [epoch["train_loss"] for epoch in log_of(again, "epoch")] == [
        epoch["train_loss"] for epoch in epochs
    ]
    assert not log_of(again, "replan")


@pytest.mark.slow
def test_far_too_short_run_is_lengthened_too(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    SimulatedMachine(monkeypatch, lambda _: 0.01)
    # All of it takes less than the 5% of the limit that are measured before a change.
    _, folder = train_here(
        options(training__epochs=1, lr__lr_peak_epoch=0.5, budget__minutes=0.1, budget__adapt=True)
    )
    assert log_of(folder, "replan") and log_of(folder, "result")[0]["length"] > 5


@pytest.mark.parametrize("slow", [pytest.param("always", marks=pytest.mark.slow), "a third of the time"])
def test_late_run_becomes_shorter_but_ends_its_schedule(
    options: Options, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    def step_seconds(step: int) -> float:
        return 0.5 if slow == "always" or 16 <= step < 28 else 0.25

    SimulatedMachine(monkeypatch, step_seconds)
    changes = {
        "training__epochs": 12,
        "budget__minutes": 0.3,
        "budget__adapt": True,
        "lr__lr_peak_share": 0.2,
    }
    code, folder = train_here(options(**changes))
    replans, epochs, (result,) = (log_of(folder, kind) for kind in ("replan", "epoch", "result"))
    assert replans[0]["late_seconds"] > 0 and replans[0]["validations"] == "last"
    assert code == 0 and result["met"] and 0.95 * 18 <= result["elapsed_seconds"] <= 18 * 1.02
    assert (5 if slow == "always" else 8) < result["length"] < (6 if slow == "always" else 11)
    assert epochs[-1]["resolution"] == 24 and epochs[-1]["lr"] < 0.03 * max(
        epoch["lr_peak"] for epoch in epochs
    )
    assert epochs[-1]["top1"] is not None
    assert any(epoch["top1"] is None for epoch in epochs), "validations are thinned first"


def test_timeline_given_shortens_a_run(options: Options) -> None:
    _, folder = train_here(options(training__timeline="0:1.5"))
    epochs = log_of(folder, "epoch")
    assert [epoch["images"] for epoch in epochs] == [96, 48]
    assert epochs[-1]["schedule"] == pytest.approx(1) and epochs[-1]["lr"] == pytest.approx(0, abs=1e-9)
    assert epochs[-1]["resolution"] == 24, "the resolution comes to its end within the epoch"


def test_run_stops_at_its_target_and_says_what_that_saved(
    options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    code, folder = train_here(
        options(training__epochs=9, budget__target_top1=0.05, budget__stop_at_target=True)
    )
    epochs, (result,) = log_of(folder, "epoch"), log_of(folder, "result")
    assert code == 0 and len(epochs) < 9
    assert result["stopped_early"] > 0 and result["length"] == len(epochs)
    assert 0 < result["time_to_target_seconds"] < result["elapsed_seconds"]
    assert "target reached after" in capsys.readouterr().out


def test_validation_every_second_epoch_and_the_last(options: Options) -> None:
    _, folder = train_here(options(validation__every=2, training__epochs=5))
    assert [epoch["top1"] is not None for epoch in log_of(folder, "epoch")] == [
        False,
        True,
        False,
        True,
        True,
    ]


ADAPTED = {"budget__minutes": 0.4, "budget__adapt": True, "training__epochs": 40, "lr__lr_peak_share": 0.2}


@pytest.mark.slow
def test_killed_adapted_run_goes_on_with_its_plan(options: Options, tmp_path: Path) -> None:
    argv = options(logging__name="killed", training__resume="auto", **{**ADAPTED, "budget__minutes": 0.7})
    killed = tmp_path / "runs" / "killed"
    process = subprocess.Popen(command(argv), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while (
        not (killed / "log.jsonl").exists()
        or len(log_of(killed, "epoch")) < 2
        or not log_of(killed, "replan")
    ):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # A re-plan after the last checkpoint is decided anew, like the steps after it.
    before = str(load_newest(killed)[1]["timeline"])
    done = subprocess.run(command(argv), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 1), done.stderr
    config = yaml.safe_load((killed / "config.yaml").read_text())
    assert config["training"]["timeline"].startswith(before)
    # The run that nobody killed, given the same plan.
    assert _same_weights(killed, _repeated(killed))


@pytest.mark.slow
def test_two_ranks_follow_one_plan_though_one_is_slowed(
    options: Options, launch: Launch, tmp_path: Path
) -> None:
    argv = options(logging__name="ranks", **ADAPTED)
    ended = threading.Event()

    def slow_down() -> None:
        while not ended.wait(0.05):
            for process in psutil.process_iter():
                try:
                    if process.environ().get("RANK") == "1" and str(tmp_path) in " ".join(process.cmdline()):
                        os.kill(process.pid, signal.SIGSTOP)
                        time.sleep(0.05)
                        os.kill(process.pid, signal.SIGCONT)
                except (psutil.Error, ProcessLookupError):
                    continue

    thread = threading.Thread(target=slow_down)
    thread.start()
    try:
        done = launch(argv, ranks=2, timeout=200)
    finally:
        ended.set()
        thread.join()
    assert done.returncode in (0, 1), done.stderr
    folder = tmp_path / "runs" / "ranks"
    (result,) = log_of(folder, "result")
    assert log_of(folder, "replan") and result["length"] != 40
    # The same plan on ranks that nobody slows gives the same weights.
    config = ["-C", str(folder / "config.yaml"), "--logging.name=again"]
    again = launch(config, ranks=2, timeout=200)
    assert again.returncode in (0, 1), again.stderr
    assert _same_weights(folder, tmp_path / "runs" / "again")
