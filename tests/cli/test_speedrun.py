"""The speedrun's way through both scripts, on a small data set of the same kind, and what it says when it can't."""

import gzip
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from engine.cli import speedrun
from engine.errors import UserError
from engine.knowledge.families import FAMILIES, Family, Point
from engine.plan.pace.machine_pace import Pace, SidePace
from tests.train.conftest import log_of

# Known lengths and accuracies like those of the real family, which grows.
FAMILY = Family(
    name="fashion-small",
    title="made up",
    network="small_resnet",
    data="Fashion-MNIST",
    recipe="rn50_configs/demo.yaml",
    points=tuple(
        Point(epochs=epochs, top1=top1, source="made up")
        for epochs, top1 in ((2, 0.897), (4, 0.919), (8, 0.928), (16, 0.932))
    ),
    source="made up",
    measured=True,
    num_train=60_000,
    num_val=10_000,
    seed_sd=0.001,
)


def _write_idx(folder: Path, prefix: str, count: int) -> None:
    """MNIST-style files: `count` images of 28 x 28 in ten classes that differ in where their bright square is."""
    random = np.random.default_rng(count)
    labels = (np.arange(count) % 10).astype(np.uint8)
    images = random.integers(0, 60, (count, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = 5 * (label // 5) + 6, 5 * (label % 5) + 1
        image[row : row + 6, column : column + 6] = 230
    with gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
        file.write(struct.pack(">IIII", 0x803, count, 28, 28) + images.tobytes())
    with gzip.open(folder / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">II", 0x801, count) + labels.tobytes())


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small stand-in for Debian's folder, in the same format."""
    folder = tmp_path / "idx"
    folder.mkdir()
    _write_idx(folder, "train", 600)
    _write_idx(folder, "t10k", 100)
    monkeypatch.setattr(speedrun, "DEBIAN_FOLDER", folder)
    return folder


SMALL = ["--training.batch_size=50", "--training.device=cpu", "--training.precision=fp32"]
UNPLANNED = [*SMALL, "--training.epochs=2", "--logging.name=small"]


@pytest.mark.slow
def test_speedrun_returns_the_exit_code_of_its_run(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, runs = tmp_path / "data", tmp_path / "runs"
    options = [*UNPLANNED, f"--logging.folder={runs}", "--budget.target_top1=1", "--budget.minutes=9"]
    assert speedrun.main(["--folder", str(folder), "--", *options]) == 1
    assert (runs / "small" / "report.html").stat().st_size > 10_000
    assert log_of(runs / "small", "result")[0]["met"] is False
    said = capfd.readouterr().out
    assert "$ python write_dataset.py" in said and "$ python train_imagenet.py" in said
    assert "target missed" in said
    assert not (folder / "plan.yaml").exists(), "the options set the length"


@pytest.mark.slow
def test_speedrun_measures_plans_and_keeps_its_time(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    family = replace(FAMILY, num_train=600, num_val=100)
    monkeypatch.setitem(FAMILIES, "fashion-small", family)
    monkeypatch.setattr(speedrun, "MEASURED_SECONDS", 6.0)
    folder, runs = tmp_path / "data", tmp_path / "runs"
    options = [*SMALL, f"--logging.folder={runs}", "--logging.name=kept", "--budget.target_top1=0.1"]
    assert speedrun.main(["--folder", str(folder), "--", *options, "--budget.margin=0.5"]) == 0
    said = capfd.readouterr().out
    assert "10% here takes about" in said and "target met" in said
    assert yaml.safe_load((runs / "kept" / "config.yaml").read_text())["plan"]["family"] == "fashion-small"
    result = log_of(runs / "kept", "result")[0]
    plan = yaml.safe_load((folder / "plan.yaml").read_text())
    assert result["budget_seconds"] == pytest.approx(60 * plan["budget"]["minutes"])


@pytest.mark.slow
def test_speedrun_reuses_files_unless_damaged(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    # The run ends before it trains.
    only_convert = ["--folder", str(folder), "--", "--training.epochs=2", "--model.weights=absent.pt"]
    assert speedrun.main(only_convert) == 2
    whole = (folder / "train.beton").read_bytes()
    capfd.readouterr()
    assert speedrun.main(only_convert) == 2
    assert "write_dataset.py" not in capfd.readouterr().out
    (folder / "train.beton").write_bytes(whole[:-1000])
    assert speedrun.main(only_convert) == 2
    assert "writing train.beton again" in capfd.readouterr().out
    assert (folder / "train.beton").read_bytes() == whole


class Started:
    """Takes the place of the two scripts: remembers their command lines."""

    def __init__(self) -> None:
        self.commands = list[tuple[str, ...]]()

    def __call__(self, script: str, *options: str) -> int:
        self.commands.append((script, *options))
        return 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """A speedrun whose data is there and whose family is made up; scripts are not started."""
    found = Started()
    monkeypatch.setattr(speedrun, "_run", found)
    monkeypatch.setattr(speedrun, "_is_whole", lambda path: True)
    monkeypatch.setitem(FAMILIES, "fashion-small", FAMILY)
    return found


def _pace(speed: float) -> Pace:
    """Measured at `speed` times that of a machine that trains 4,000 to 2,400 images a second."""
    return Pace(
        machine="a CPU, 2 cores",
        basis="measured here in 18 s",
        measured=True,
        gpus=0,
        sides=(SidePace(side=20, step=4000 * speed), SidePace(side=28, step=2400 * speed)),
        error=0.08,
        setup_seconds=5,
        validation_seconds=2,
        precision="fp32",
    )


def _plan(folder: Path, monkeypatch: pytest.MonkeyPatch, speed: float, *options: str) -> dict[str, Any]:
    """The plan.yaml that a speedrun of this speed writes."""
    monkeypatch.setattr(speedrun, "measure", lambda asked: _pace(speed))
    assert speedrun.main(["--folder", str(folder), "--", *options]) == 0
    plan: dict[str, Any] = yaml.safe_load((folder / "plan.yaml").read_text())
    return plan


def test_plan_is_trained_and_its_promise_is_said(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = _plan(tmp_path, monkeypatch, 1.0, "--training.seed=3")
    assert plan["budget"]["target_top1"] == 0.92 and plan["budget"]["adapt"] is True
    assert plan["budget"]["minutes"] == pytest.approx(plan["plan"]["minutes_high"], abs=0.01)
    assert plan["training"]["precision"] == "fp32", "measured as the faster one"
    assert plan["plan"]["family"] == "fashion-small"
    (command,) = started.commands
    data = [f"--data.{split}_dataset={tmp_path / split}.beton" for split in ("train", "val")]
    assert command == ("train_imagenet.py", "-C", str(tmp_path / "plan.yaml"), *data, "--training.seed=3")
    said = capfd.readouterr().out
    assert re.search(
        r"^92% here takes about \d min \d\d s \[\d:\d\d-\d:\d\d\] \(fashion-small, [\d.]+ epochs, fp32, predicted "
        r"92\.\d% \[9\d\.\d-9\d\.\d\]\)$",
        said,
        re.M,
    )
    assert "machine: a CPU, 2 cores, measured here in 18 s" in said


@pytest.mark.parametrize("speed", [1.0, 1 / 3, 0.2, 0.1, 0.07])
def test_time_grows_on_slow_machines_then_the_target_falls(
    started: Started,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    speed: float,
) -> None:
    plan = _plan(tmp_path, monkeypatch, speed)
    target, minutes = plan["budget"]["target_top1"], plan["budget"]["minutes"]
    said = capfd.readouterr().out
    assert minutes <= 12.01
    assert ("would take more than 12 min" in said) == (target < 0.92)
    if speed >= 0.2:
        assert target == 0.92 and minutes > 1 / speed
    else:
        assert 0.88 < target < 0.92 and (target * 200) == pytest.approx(round(target * 200))
        assert minutes > 6, "the time is used before the target is lowered"
    assert (FAMILY.probability(_epochs(plan), target)) >= 0.95


def _epochs(plan: dict[str, Any]) -> float:
    timeline = plan["training"].get("timeline")
    return float(timeline.partition(":")[2]) if timeline else plan["training"]["epochs"]


def test_too_slow_machine_gets_the_shortest_run(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = _plan(tmp_path, monkeypatch, 0.01)
    assert _epochs(plan) == 2 and plan["budget"]["minutes"] > 12
    assert "92% would take more than 12 min" in capfd.readouterr().out


def test_options_that_set_target_and_time_win(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _plan(tmp_path, monkeypatch, 0.1, "--budget.target_top1=0.925")
    assert plan["budget"]["target_top1"] == 0.925 and plan["budget"]["minutes"] > 12
    plan = _plan(tmp_path, monkeypatch, 0.5, "--budget.minutes=3")
    assert plan["budget"]["minutes"] == 3 and 0.9 <= plan["budget"]["target_top1"] < 0.92
    plan = _plan(tmp_path, monkeypatch, 1.0, "--budget.minutes=2", "--budget.target_top1=0.99")
    assert (plan["budget"]["minutes"], plan["budget"]["target_top1"]) == (2, 0.99)
    assert started.commands[-1][-2:] == ("--budget.minutes=2", "--budget.target_top1=0.99")


def test_time_too_short_for_any_known_run_has_no_target(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = _plan(tmp_path, monkeypatch, 0.1, "--budget.minutes=1")
    assert (plan["budget"]["minutes"], plan["budget"]["target_top1"]) == (1, 0)
    assert "no accuracy is known for 1 min here" in capfd.readouterr().out


def test_options_that_set_the_length_leave_the_recipe(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speedrun, "measure", lambda asked: pytest.fail("measured for nothing"))
    assert speedrun.main(["--folder", str(tmp_path), "--", "--training.epochs=3"]) == 0
    assert started.commands[0][:3] == ("train_imagenet.py", "-C", "rn50_configs/demo.yaml")


def test_wrong_option_is_refused_before_any_work(started: Started, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training\.epochs"):
        speedrun.main(["--folder", str(tmp_path), "--", "--training.epochs=none"])
    assert not started.commands


def test_speedrun_without_data_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speedrun, "DEBIAN_FOLDER", tmp_path / "absent")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(UserError, match="install the package dataset-fashion-mnist"):
        speedrun.main(["--folder", str(tmp_path / "data")])
