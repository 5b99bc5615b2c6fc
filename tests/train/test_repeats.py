"""augmentation.repeats in a training: what the trainer asks its loader for, and that the repeats reach the weights."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from engine.config.load import load_train_config
from engine.data.beton.reader import open_beton
from engine.data.loading.loader import Batch, Loader
from engine.data.sampling.order import held_out, samples_of
from engine.train.augment.chain import loader_dtype
from engine.train.ranks.group import process_group
from engine.train.step.precision import Precision
from engine.train.trainer import Trainer

Options = Callable[..., list[str]]


class Watched(Loader):
    """A loader that keeps what it was asked for, (batches, device batch) in each epoch, and what it gave."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.asked: list[NDArray[np.int64]] = []
        self.given: list[torch.Tensor] = []

    def batches(self, ids: Any, *law: Any) -> Generator[Batch, None, None]:
        """As Loader's."""
        self.asked.append(np.asarray(ids))
        for batch in super().batches(ids, *law):
            self.given.append(batch.images.clone())
            yield batch


def _train(argv: list[str], epochs: int = 1) -> tuple[Watched, torch.Tensor]:
    """The loader of a training on 96 images, and the last layer's weights after it."""
    config, _ = load_train_config(argv)
    torch.manual_seed(0)
    last = nn.Linear(32, 6)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), last
    )
    with process_group("cpu") as ranks:
        precision = Precision(config.training.precision, ranks.device)
        beton = open_beton(Path(config.data.train_dataset))
        dtype = loader_dtype(config, precision.input_dtype)
        loader = Watched(beton, device=ranks.device, dtype=dtype)
        with loader, tqdm(disable=True) as bar:
            trainer = Trainer(config, ranks, precision, loader, model, 6)
            for epoch in range(epochs):
                trainer.train_epoch(epoch, bar)
    return loader, last.weight.detach()


@pytest.fixture
def fixed(options: Options) -> Options:
    """Without batch norm and with one resolution, a training does not depend on how a batch is split."""

    def build(**changes: Any) -> list[str]:
        same: dict[str, Any] = {"resolution__min_res": 16, "resolution__max_res": 16}
        return options(**{**same, **changes})

    return build


def test_each_image_is_in_its_batch_three_times_and_differs(fixed: Options) -> None:
    loader, _ = _train(fixed(augmentation__repeats=3, training__batch_size=24), epochs=3)
    used = []
    for views in loader.asked:
        assert views.shape == (4, 24)
        for batch in views:
            samples, times = np.unique(samples_of(batch), return_counts=True)
            assert len(samples) == 8 and (times == 3).all()
        used.append(set(samples_of(views).ravel().tolist()))
    assert [len(samples) for samples in used] == [32, 32, 32]
    assert len(set.union(*used)) > 60
    # Views of one image are 8 apart.
    for images in loader.given:
        assert all(not torch.equal(images[row], images[row + 8]) for row in range(16))


def test_repeats_train_the_same_for_any_device_batch(fixed: Options) -> None:
    plain, repeats = _train(fixed())[1], _train(fixed(augmentation__repeats=2))
    split = _train(fixed(augmentation__repeats=2, training__device_batch_size=4))
    assert not torch.allclose(plain, repeats[1], atol=1e-3)
    assert split[0].asked[0].shape == (24, 4)
    np.testing.assert_array_equal(split[0].asked[0].reshape(-1, 16), repeats[0].asked[0])
    torch.testing.assert_close(split[1], repeats[1], rtol=1e-4, atol=1e-6)


def test_one_repeat_equals_the_plain_order(fixed: Options) -> None:
    loader, _ = _train(fixed(augmentation__repeats=1))
    assert sorted(loader.asked[0].ravel().tolist()) == list(range(96))


def test_held_out_images_are_not_repeated(fixed: Options) -> None:
    argv = fixed(augmentation__repeats=2, data__holdout=0.25, training__epochs=6)
    loader, _ = _train(argv, epochs=6)
    used = set(samples_of(np.stack(loader.asked)).ravel().tolist())
    assert len(used) > 60 and not used & set(held_out(96, 0.25, seed=0).tolist())
