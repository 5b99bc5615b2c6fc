"""Tiny data, and runs made by hand: a recipe and weights are all that averaging reads of a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.cli import average
from engine.config.load import load_train_config, to_dict
from engine.models.build import build_model
from engine.train.checkpoints.checkpoint_file import save
from engine.train.checkpoints.weights_file import with_classes
from tests.shapes import CLASSES, write_betons
from tests.train.conftest import TINY

MakeRun = Callable[..., Path]

# Half of the sides of TINY take a quarter of the time.
SMALL = {"resolution.max_res": 16, "validation.resolution": 16, "validation.plain_resolution": 16}


@pytest.fixture(scope="session")
def betons(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """train.beton (96 images) and val.beton (37 images) of six classes."""
    return write_betons(tmp_path_factory.mktemp("shapes"))


@pytest.fixture
def make_run(betons: tuple[Path, Path], tmp_path: Path) -> MakeRun:
    """Write a run's folder with random weights of the seed; keyword arguments such as model__arch change its recipe."""

    def make(name: str, seed: int = 0, classes: tuple[str, ...] = CLASSES, **changes: Any) -> Path:
        data = {"data.train_dataset": betons[0], "data.val_dataset": betons[1]}
        merged = {
            **TINY,
            **SMALL,
            **data,
            **{key.replace("__", "."): value for key, value in changes.items()},
        }
        config = load_train_config([f"--{key}={value}" for key, value in merged.items()])[0]
        folder = tmp_path / name
        folder.mkdir()
        lines = []
        for section, options in to_dict(config).items():
            lines += [f"{section}:", *(f"  {key}: {_text(value)}" for key, value in options.items())]
        (folder / "config.yaml").write_text("\n".join(lines), encoding="utf-8")
        save(folder / "weights.pt", with_classes(network(config.model.arch, seed, classes), list(classes)))
        return folder

    return make


def _text(value: Any) -> str:
    return "''" if value == "" else str(value).lower() if isinstance(value, bool) else str(value)


def network(arch: str, seed: int, classes: tuple[str, ...] = CLASSES) -> dict[str, torch.Tensor]:
    """Random weights, whose batch norms have seen random statistics."""
    torch.manual_seed(seed)
    model = build_model(arch, len(classes), use_blurpool=False)
    for name, value in model.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.3)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return dict(model.state_dict())


@pytest.fixture
def averaged(betons: tuple[Path, Path]) -> Callable[..., int]:
    """Run the verb on the tiny data; returns its exit code."""

    def run(*argv: object) -> int:
        data = [f"--train={betons[0]}", f"--val={betons[1]}"]
        return average.main([*data, *map(str, argv)])

    return run
