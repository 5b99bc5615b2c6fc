"""Each registered augmentation and loss through a real training of a few steps, from the command line's options."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from tqdm import tqdm

from engine.config.load import load_train_config
from engine.data.beton.reader import open_beton
from engine.data.loading.loader import Loader
from engine.models.build import build_model
from engine.train.augment.chain import AUGMENTATIONS, loader_dtype
from engine.train.ranks.group import process_group
from engine.train.step.losses import LOSSES
from engine.train.step.precision import Precision
from engine.train.trainer import Trainer

Options = Callable[..., list[str]]
Run = tuple[float, torch.Tensor]


def _train(options: Options, *, workers: int = 1, **changes: Any) -> Run:
    """An epoch of six steps; returns its loss and the last layer's weights."""
    argv = options(
        training__epochs=1, resolution__min_res=16, resolution__max_res=16, lr__lr_peak_epoch=0, **changes
    )
    config, _ = load_train_config(argv)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 6)
    )
    with process_group("cpu") as ranks:
        precision = Precision(config.training.precision, ranks.device)
        dtype = loader_dtype(config, precision.input_dtype)
        beton = open_beton(Path(config.data.train_dataset))
        with (
            Loader(beton, device=ranks.device, dtype=dtype, workers=workers) as loader,
            tqdm(disable=True) as bar,
        ):
            loss = Trainer(config, ranks, precision, loader, model, 6).train_epoch(0, bar).train_loss
    (last,) = [layer for layer in model if isinstance(layer, nn.Linear)]
    assert loss is not None
    return loss, last.weight.detach()


@pytest.fixture
def plain(options: Options) -> Run:
    return _train(options)


def _same(first: Run, second: Run) -> bool:
    return first[0] == second[0] and torch.equal(first[1], second[1])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_training_with_an_augmentation_repeats_to_the_bit(options: Options, plain: Run, name: str) -> None:
    law = {f"augmentation__{key}": value for key, value in AUGMENTATIONS[name].example.items()}
    run = _train(options, **law)
    assert _same(run, _train(options, workers=3, **law))
    assert not torch.equal(run[1], plain[1])
    assert 1.0 < run[0] < 3.0, "six classes: not far from log(6)"


@pytest.mark.parametrize("name", LOSSES.names())
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_with_a_loss_works_on_labels_and_mixed_targets(
    options: Options, name: str, precision: str
) -> None:
    run = _train(options, loss__name=name, training__precision=precision)
    mixed = _train(options, loss__name=name, training__precision=precision, augmentation__mixup_alpha=0.4)
    assert 0.1 < run[0] < 3 and 0.1 < mixed[0] < 3
    assert not torch.equal(run[1], mixed[1])


def test_teacher_changes_what_a_student_learns(options: Options, plain: Run, tmp_path: Path) -> None:
    torch.save(build_model("small_resnet", 6, use_blurpool=False).state_dict(), tmp_path / "teacher.pt")
    taught: dict[str, Any] = {"loss__teacher": tmp_path / "teacher.pt", "loss__teacher_arch": "small_resnet"}
    assert not torch.equal(_train(options, **taught)[1], plain[1])
