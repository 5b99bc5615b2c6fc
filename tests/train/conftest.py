"""A tiny real data set, and training runs on it: in this process, as a process, and under torchrun."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from engine.config.load import load_train_config
from engine.report.run_display import RunDisplay
from engine.runs.run_writer import RunWriter
from engine.train.ranks.group import process_group
from engine.train.recipe.recipe_run import open_run
from tests.shapes import write_betons

ROOT = Path(__file__).parents[2]

# Small, on the CPU, in fp32 (the same on every machine), and learnt within seconds.
TINY = {
    "model.arch": "small_resnet",
    "resolution.min_res": 16,
    "resolution.max_res": 24,
    "resolution.start_ramp": 0.3,
    "resolution.end_ramp": 0.6,
    "resolution.multiple_of": 8,
    "augmentation.min_scale": 0.5,
    "lr.lr": 0.05,
    "lr.lr_peak_epoch": 1,
    "validation.resolution": 32,
    "validation.plain_resolution": 24,
    "validation.batch_size": 16,
    "training.batch_size": 16,
    "training.epochs": 3,
    "training.precision": "fp32",
    "training.device": "cpu",
    "training.use_blurpool": True,
}


@pytest.fixture(scope="session")
def betons(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """train.beton (96 images) and val.beton (37 images) of six classes."""
    return write_betons(tmp_path_factory.mktemp("shapes"))


@pytest.fixture
def options(betons: tuple[Path, Path], tmp_path: Path) -> Callable[..., list[str]]:
    """The command line of a tiny run; keyword arguments such as training__epochs=5 change options of it."""

    def build(**changes: Any) -> list[str]:
        data = {
            "data.train_dataset": betons[0],
            "data.val_dataset": betons[1],
            "logging.folder": tmp_path / "runs",
        }
        merged = {**TINY, **data, **{key.replace("__", "."): value for key, value in changes.items()}}
        return [f"--{key}={value}" for key, value in merged.items()]

    return build


def train_here(argv: list[str]) -> tuple[int, Path]:
    """Run train_imagenet.py's body in this process; returns the exit code and the run's folder."""
    config, recipe = load_train_config(argv)
    with (
        process_group(config.training.device) as ranks,
        open_run(config, ranks) as run,
        RunWriter.open(run.repeatable, recipe, writes=ranks.main, display=RunDisplay()) as record,
    ):
        return run.execute(record), record.folder


def log_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The run's log lines of one kind."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


class Launch(Protocol):
    """See the fixture launch."""

    def __call__(
        self, argv: list[str], *, ranks: int = 1, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Run train_imagenet.py as its users do: python for one rank, torchrun for more."""

    def run(argv: list[str], *, ranks: int = 1, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(argv, ranks), cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


def command(argv: list[str], ranks: int = 1, script: str = "train_imagenet.py") -> list[str]:
    """The command line that starts the script with so many ranks."""
    words = [str(ROOT / script), *argv]
    if ranks == 1:
        return [sys.executable, *words]
    torchrun = Path(sys.executable).with_name("torchrun")
    launcher = [str(torchrun)] if torchrun.exists() else [sys.executable, "-m", "torch.distributed.run"]
    # It finds a port by itself and keeps it: one found here might be another test's by the time it is used.
    return [*launcher, "--standalone", f"--nproc-per-node={ranks}", *words]
