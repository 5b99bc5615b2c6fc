"""Runs of recipes of several stages, for the tests: in this process, whole or ended early."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from engine.config.load import load_train_stages
from engine.errors import UserError
from engine.report.run_display import RunDisplay
from engine.train.ranks.group import process_group
from engine.train.recipe.recipe_run import run_recipe
from tests.train.conftest import TINY

State = dict[str, torch.Tensor]

# The second stage has a schedule, a batch, an optimizer, a resolution and a length of its own.
SECOND: dict[str, Any] = {
    "training": {"epochs": 3, "batch_size": 12, "optimizer": "lamb", "label_smoothing": 0.0},
    "lr": {"lr": 0.01, "lr_schedule_type": "cosine", "lr_final": 1e-4},
    "resolution": {"min_res": 24},
}
FROM_AVERAGE: dict[str, Any] = {**SECOND, "model": {"use_ema": True}}
FIXRES: dict[str, Any] = {
    "model": {"train_only": "head"},
    "resolution": {"min_res": 32, "max_res": 32},
    "training": {"epochs": 1, "weight_decay": 0.1},
}


def recipe_of(
    folder: Path, betons: tuple[Path, Path], then: list[dict[str, Any]], name: str = "run", **changes: Any
) -> list[str]:
    """The command line of a tiny recipe in `folder` whose further stages are `then`; `changes` are to its first."""
    data = {"data.train_dataset": str(betons[0]), "data.val_dataset": str(betons[1])}
    first = {**TINY, **data, "training.epochs": 2, "training.ema_half_life": 4}
    first |= {key.replace("__", "."): value for key, value in changes.items()}
    path = folder / "two.yaml"
    path.write_text(yaml.safe_dump({**first, "then": then}))
    return ["-C", str(path), f"--logging.folder={folder / 'runs'}", f"--logging.name={name}"]


def run_here(argv: list[str]) -> int:
    """train_imagenet.py's body in this process."""
    stages, recipe = load_train_stages(argv)
    with process_group(stages[0].training.device) as ranks:
        return run_recipe(stages, recipe, ranks, RunDisplay())


def weights_of(folder: Path, name: str = "weights.pt") -> State:
    return dict(torch.load(folder / name, weights_only=True))


def changed(before: State, after: State) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def same_runs(first: Path, second: Path) -> None:
    """Both folders hold the same stages, which ended with the same weights."""
    files = [
        sorted(path.relative_to(run) for path in run.glob("stage*/weights*.pt")) for run in (first, second)
    ]
    assert files[0] == files[1] and len(files[0]) >= 2
    for file in files[0]:
        assert not changed(*(weights_of(run / file.parent, file.name) for run in (first, second))), file


def refusal(argv: list[str]) -> str:
    with pytest.raises(UserError) as caught:
        run_here(argv)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def stop_in(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, when: Callable[..., bool]) -> None:
    """Have a method end the run, as Ctrl-C does, when `when` is true of its arguments."""
    method = getattr(owner, name)

    def stop(*arguments: Any) -> Any:
        if when(*arguments):
            raise KeyboardInterrupt
        return method(*arguments)

    monkeypatch.setattr(owner, name, stop)
