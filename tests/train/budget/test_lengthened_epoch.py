"""An epoch that a re-plan shortens and then lengthens again trains on every image that it counts."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tqdm import tqdm

from engine.config.load import load_train_config
from engine.data.beton.reader import open_beton
from engine.data.loading.loader import Batch, Loader
from engine.models.build import build_model
from engine.train.augment.chain import loader_dtype
from engine.train.ranks.group import process_group
from engine.train.step.precision import Precision
from engine.train.trainer import Trainer
from tests.train.conftest import train_here

Options = Callable[..., list[str]]
STEPS = 6


class Watched(Loader):
    """A loader that keeps the ids of what it gave."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.given: list[int] = []

    def batches(self, ids: Any, *law: Any) -> Generator[Batch, None, None]:
        """As Loader's."""
        for batch in super().batches(ids, *law):
            self.given += batch.ids.tolist()
            yield batch


@pytest.mark.parametrize("lengths", [{2: 1.0}, {1: 0.5, 3: 0.9}, {2: 0.4}])
def test_epoch_whose_length_changes_trains_on_each_image_it_counts(
    options: Options, lengths: dict[int, float]
) -> None:
    """`lengths`: after so many steps the run has so many epochs; it begins with two thirds of one."""
    config, _ = load_train_config(
        options(
            training__epochs=1,
            training__timeline="0:0.66",
            lr__lr_peak_epoch=0.2,
            resolution__min_res=16,
            resolution__max_res=16,
        )
    )
    model = build_model("small_resnet", 6, use_blurpool=False)
    with process_group("cpu") as ranks:
        beton = open_beton(Path(config.data.train_dataset))
        precision = Precision("fp32", ranks.device)
        loader = Watched(beton, device=ranks.device, dtype=loader_dtype(config, precision.input_dtype))
        with loader, tqdm(disable=True) as bar:
            trainer = Trainer(config, ranks, precision, loader, model, 6)

            def replan(epoch: int, step: int) -> None:
                if step in lengths:
                    trainer.timeline = trainer.timeline.changed(step / STEPS, lengths[step])

            line = trainer.train_epoch(0, bar, paced=replan)
    steps = max(round([*lengths.values()][-1] * STEPS), [*lengths][-1])
    assert line.images == 16 * steps
    assert len(loader.given) == len(np.unique(loader.given)) == 16 * steps


def test_epoch_with_fewer_batches_than_steps_is_an_error(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = Loader.batches

    def all_but_one(self: Loader, ids: Any, *law: Any) -> Generator[Batch, None, None]:
        return every(self, ids[:-1], *law)

    monkeypatch.setattr(Loader, "batches", all_but_one)
    with pytest.raises(RuntimeError, match="a training step got fewer batches than it takes"):
        train_here(options())
