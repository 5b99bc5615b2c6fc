"""A run's trained weights as files: weights.pt, weights_ema.pt, and model.safetensors, each with its card."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.data.beton.pair import ClassList
from engine.data.beton.reader import Beton
from engine.data.loading.loader import MEAN, STD
from engine.files import atomic_write
from engine.runs.folder import MODEL
from engine.runs.log_schema import Revision
from engine.runs.machine import revision, versions
from engine.runs.model_card import CARD_KEY, CARD_SCHEMA, CardAccuracy, ModelCard, Preprocessing
from engine.train.checkpoints import checkpoint_file
from engine.train.checkpoints.weights_file import with_classes
from engine.train.evaluation.validator import Conditions, own_conditions, plain_conditions

if TYPE_CHECKING:
    from engine.train.evaluation.accuracy import Accuracy


def card_of(
    config: TrainConfig,
    classes: ClassList,
    train: Beton,
    accuracies: "tuple[Accuracy, Accuracy]",
    *,
    averaged: bool,
    data: Mapping[str, str],
    run: str,
    recipe: str,
) -> ModelCard:
    """The card of a run's weights, or of their average; `accuracies` under the recipe's and the plain conditions."""
    validation, (own, plain) = config.validation, accuracies
    commit, asked = revision(), own_conditions(validation)
    measured = [_measured(asked, own.top1, own.top5, own.count)]
    if asked.tta:
        without = Conditions(
            resolution=asked.resolution, ratio=asked.ratio, tta=False, crop_law=asked.crop_law
        )
        measured.append(_measured(without, own.top1_no_tta, own.top5_no_tta, own.count))
    measured.append(
        _measured(plain_conditions(validation), plain.top1_no_tta, plain.top5_no_tta, plain.count)
    )
    return ModelCard(
        schema=CARD_SCHEMA,
        arch=config.model.arch,
        num_classes=classes.count,
        classes=classes.names,
        use_blurpool=config.training.use_blurpool,
        averaged=averaged,
        preprocessing=Preprocessing(
            resolution=asked.resolution,
            ratio=asked.ratio,
            crop_law=asked.crop_law,
            mean=[value / 255 for value in MEAN],
            std=[value / 255 for value in STD],
            exif=train.manifest.rules.get("exif") if train.manifest else None,
        ),
        accuracies=measured,
        recipe=recipe,
        run=run,
        seed=config.training.seed,
        train_data=data["train"],
        val_data=data["val"],
        license=(train.manifest.license or None) if train.manifest else None,
        revision=Revision.from_json(commit) if commit else None,
        versions=versions(),
    )


def _measured(conditions: Conditions, top1: float, top5: float, images: int) -> CardAccuracy:
    return CardAccuracy(
        top1=top1,
        top5=top5,
        images=images,
        resolution=conditions.resolution,
        ratio=conditions.ratio,
        crop_law=conditions.crop_law,
        tta=conditions.tta,
    )


def save_weights(path: Path, model: nn.Module, card: ModelCard) -> None:
    """Write the weights as a plain state_dict that knows its card. Raises UserError, as for a full disk."""
    state = with_classes(portable(model), card.classes)
    setattr(state, CARD_KEY, card.to_text())
    checkpoint_file.save(path, state)


def save_model(folder: Path, model: nn.Module, card: ModelCard) -> None:
    """Write the weights as model.safetensors with their card. Raises UserError, as for a full disk."""
    save_safetensors(folder / MODEL, model, card)


def save_safetensors(path: Path, model: nn.Module, card: ModelCard) -> None:
    """Write the weights as a file of that library with their card. Raises UserError, as for a full disk."""
    # A third of a second, which only the end of a run needs.
    from safetensors.torch import save

    with atomic_write(path) as file:
        file.write(save(portable(model), metadata={"format": "pt", CARD_KEY: card.to_text()}))


def portable(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state_dict on the CPU and in plain memory order: it loads anywhere, whatever it was trained on."""
    return {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
