"""A trained network's probabilities for all images of val, and for as many images of train.

The conditions are those of its recipe's validation: resolution, crop ratio and TTA.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.audit.classes import Labels
from engine.audit.labels.opinion import Opinion
from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.data.beton.reader import Beton
from engine.data.loading.loader import Loader
from engine.data.sampling.crops import centre_crop
from engine.errors import UserError
from engine.models.build import build_model
from engine.progress import Progress
from engine.runs.folder import CHECKPOINTS, CONFIG, LAST, WEIGHTS
from engine.train.evaluation.accuracy import predictions
from engine.train.ranks.group import Ranks, process_group
from engine.train.ranks.process import keep_freed_memory
from engine.train.step.precision import Precision, choose_precision
from engine.train.weights import load_weights

_SEED = 0


def recipe_of(weights: Path, options: Sequence[str], train: Path, val: Path) -> TrainConfig:
    """The recipe of the weights: config.yaml beside them (or above checkpoints/), with `options` over it.

    `weights` is a run folder or a weights file. Raises UserError if there are none.
    """
    if weights.is_dir():
        choices = (weights / WEIGHTS, weights / CHECKPOINTS / LAST)
        found = next((path for path in choices if path.is_file()), None)
        if found is None:
            raise UserError(f"{weights} holds no {WEIGHTS} and no {CHECKPOINTS}/{LAST}: give a run's folder")
        weights = found
    recipes = (weights.parent / CONFIG, weights.parent.parent / CONFIG)
    recipe = next((["-C", str(path)] for path in recipes if path.is_file()), [])
    data = [f"--data.train_dataset={train}", f"--data.val_dataset={val}"]
    fixed = [f"--model.weights={weights}", "--training.eval_only=true"]
    return load_train_config([*recipe, *options, *data, *fixed])[0]


def ask(config: TrainConfig, train: Beton, val: Beton, labels: Labels) -> tuple[Opinion, Opinion]:
    """The network's predictions for an equally large random part of train, and for val.

    Images of val whose class is not in train are left out. Raises UserError if the weights don't fit.
    """
    keep_freed_memory()
    known = np.flatnonzero(labels.val < labels.num_train)
    if not len(known):
        raise UserError("no image of val is of a class that train has: there is nothing to compare")
    draw = np.random.default_rng(_SEED)
    part = np.sort(draw.permutation(train.num_samples)[: len(known)])
    with process_group(config.training.device) as ranks:
        precision = choose_precision(config.training.precision, ranks.device)
        model = build_model(config.model.arch, labels.num_train, use_blurpool=config.training.use_blurpool)
        wanted = config.model
        # Without the class names: that they are in another order is what the audit can find.
        load_weights(model, Path(wanted.weights), use_ema=wanted.use_ema, key=wanted.weights_key)
        layout = torch.channels_last if config.training.channels_last else torch.contiguous_format
        model = model.eval().to(ranks.device).to(memory_format=layout)
        both = ((train, labels.train, part), (val, labels.val, known))
        ours, theirs = (_opinion(config, ranks, precision, model, *one) for one in both)
    return ours, theirs


def _opinion(
    config: TrainConfig,
    ranks: Ranks,
    precision: Precision,
    model: nn.Module,
    beton: Beton,
    labels: NDArray[np.int64],
    ids: NDArray[np.int64],
) -> Opinion:
    validation, data = config.validation, config.data
    batches = [
        ids[start : start + validation.batch_size] for start in range(0, len(ids), validation.batch_size)
    ]
    seen, said = [], []
    loader = Loader(
        beton,
        device=ranks.device,
        dtype=precision.input_dtype,
        channels_last=config.training.channels_last,
        workers=data.num_workers or ranks.cores(),
        in_memory=False,
        decoder=data.decoder,
        verify=data.verify,
        corrupt="skip",
    )
    with loader, Progress(f"asking the network about {beton.path.name}", len(ids), "images") as progress:
        crop = centre_crop(validation.crop_law, validation.resolution, validation.ratio)
        with closing(loader.batches(batches, validation.resolution, crop)) as arriving:
            for batch, final, _ in predictions(model, arriving, tta=validation.lr_tta, precision=precision):
                seen.append(batch.ids)
                # float16: 50,000 images of 1,000 classes take 100 MB, with an error of a thousandth.
                said.append(final.clamp_min(1e-12).log().half().cpu().numpy())
                progress.update(len(batch.ids))
        left_out = tuple(loader.new_skips())
    known = np.concatenate(seen)
    return Opinion(known, labels[known], np.concatenate(said), left_out)
