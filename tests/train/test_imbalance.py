"""Classes of very different sizes in a training: their weights in the loss, the order of the epochs, the warning."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.data.loading.loader import Batch, Loader
from engine.data.sampling.order import held_out, samples_of
from engine.train.imbalance import class_weights, imbalance_warning, uneven_sizes
from engine.train.ranks.group import Ranks, process_group
from engine.train.step.precision import Precision
from engine.train.trainer import Trainer
from tests.data.made import make

COUNTS = np.array([900, 90, 0, 10])
LABELS = [0] * 63 + [1] * 12 + [2] * 3


def _config(path: str = "a", **options: Any) -> TrainConfig:
    given = {
        "data.train_dataset": path,
        "data.val_dataset": path,
        "training.device": "cpu",
        "training.precision": "fp32",
    } | {key.replace("__", "."): value for key, value in options.items()}
    return load_train_config([f"--{key}={value}" for key, value in given.items()])[0]


# Weights


def test_weights_are_none_unless_they_are_asked_for() -> None:
    assert class_weights(_config(), COUNTS) is None


@pytest.mark.parametrize(
    ("law", "formula"),
    [
        ("inverse", lambda n: 1 / n),
        ("effective", lambda n: (1 - 0.99) / (1 - 0.99**n)),
    ],
)
def test_weights_follow_their_formula_with_mean_one(law: str, formula: Callable[[Any], Any]) -> None:
    weights = class_weights(_config(loss__class_weights=law, loss__effective_beta=0.99), COUNTS)
    assert weights is not None and weights.dtype == np.float32 and weights[2] == 0
    assert (weights * COUNTS).sum() == pytest.approx(COUNTS.sum())
    known = COUNTS > 0
    np.testing.assert_allclose(weights[known] / weights[0], formula(COUNTS[known]) / formula(900), rtol=1e-5)


def test_weights_correct_what_the_balance_left() -> None:
    equal = class_weights(_config(data__balance="equal", loss__class_weights="inverse"), COUNTS)
    assert equal is not None
    np.testing.assert_allclose(equal[COUNTS > 0], 1, rtol=0.01)
    root = class_weights(_config(data__balance="sqrt", loss__class_weights="inverse"), COUNTS)
    assert root is not None and root[3] / root[0] == pytest.approx(np.sqrt(90), rel=0.02)


# What is said


def test_warning_names_both_classes_and_two_ways_out() -> None:
    names = ["dog", "cat", "none", "eel"]
    line = imbalance_warning(_config(), COUNTS, names)
    assert line.startswith(
        "warning: classes differ in size by more than 20 times: 900 of dog, 10 of eel training"
    )
    assert "--data.balance=sqrt" in line and "--loss.class_weights=effective" in line and "\n" not in line
    assert "900 of label 0, 10 of label 3" in imbalance_warning(_config(), COUNTS, None)
    # What it names is taken, and silences it.
    for way in ({"data__balance": "sqrt"}, {"loss__class_weights": "effective"}):
        assert imbalance_warning(_config(**way), COUNTS, names) == ""
    assert imbalance_warning(_config(), np.array([200, 10, 0]), None) == ""
    assert imbalance_warning(_config(), np.array([201, 10, 0]), None) != ""


def test_sizes_are_logged_where_they_are_uneven() -> None:
    assert uneven_sizes(np.array([5, 0, 1])) is None
    assert uneven_sizes(np.array([6, 0, 1])) == [6, 0, 1]


# In a training


class Watched(Loader):
    """A loader that keeps the views that it gave."""

    def batches(self, *asked: Any) -> Generator[Batch, None, None]:
        """As Loader's."""
        self.given: list[NDArray[np.int64]] = []
        for batch in super().batches(*asked):
            self.given.append(batch.ids)
            yield batch


def _epoch(trainer: Trainer, loader: Watched, epoch: int, first_step: int = 0) -> NDArray[np.int64]:
    """The views of an epoch from a step on, a row for each batch."""
    for _ in trainer.batches(epoch, first_step):
        pass
    return np.stack(loader.given)


def _trainer(config: TrainConfig, ranks: Ranks, loader: Loader) -> Trainer:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    return Trainer(config, ranks, Precision(config.training.precision, ranks.device), loader, model, 3)


@pytest.mark.parametrize("holdout", [0.0, 0.2])
def test_trainer_balances_what_it_trains_on_and_resumes(tmp_path: Path, holdout: float) -> None:
    beton = make(tmp_path / "a.beton", LABELS)
    config = _config(
        str(beton.path),
        data__balance="equal",
        data__holdout=holdout,
        resolution__min_res=8,
        resolution__max_res=8,
        training__batch_size=6,
        training__channels_last=False,
    )
    held = held_out(len(LABELS), holdout, config.training.seed)
    loader = Watched(beton, device=torch.device("cpu"))
    with process_group("cpu") as ranks, loader:
        trainer = _trainer(config, ranks, loader)
        epochs = [_epoch(trainer, loader, epoch) for epoch in range(3)]
        steps = (len(LABELS) - len(held)) // 6
        for views in epochs:
            assert views.shape == (steps, 6) and not np.isin(samples_of(views), held).any()
            # An epoch leaves out what does not fill a batch.
            counts = np.bincount(np.asarray(LABELS)[samples_of(views)].ravel(), minlength=3)
            assert np.ptp(counts) <= 1 + (len(LABELS) - len(held)) % 6
        np.testing.assert_array_equal(_epoch(trainer, loader, 1, first_step=4), epochs[1][4:])


def test_weights_of_the_classes_reach_the_loss(tmp_path: Path) -> None:
    beton = make(tmp_path / "a.beton", LABELS)
    losses = []
    for law in ("none", "inverse"):
        config = _config(
            str(beton.path), loss__class_weights=law, training__label_smoothing=0, training__batch_size=6
        )
        with process_group("cpu") as ranks, Loader(beton, device=ranks.device) as loader:
            objective = _trainer(config, ranks, loader).step.objective
            logits, labels = torch.zeros(1, 3), torch.arange(3)
            losses.append([float(objective(logits, logits, labels[[row]])) for row in range(3)])
    plain, weighted = np.array(losses)
    np.testing.assert_allclose(weighted / plain, 26 / np.array([63, 12, 3]), rtol=1e-5)
