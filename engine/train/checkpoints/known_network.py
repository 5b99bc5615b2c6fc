"""A trained network whose files say what it is: an ensemble's member, a teacher, weights that are averaged.

Its architecture and BlurPool are those of the card, else of the run's config.yaml, else of the checkpoint's own
configuration. What none of them says has to be given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.config.load import load_train_config
from engine.errors import UserError
from engine.models.build import build_model
from engine.runs.model_card import CARD_KEY, ModelCard
from engine.train.checkpoints import checkpoint_file
from engine.train.checkpoints.weights_file import AVERAGED, RAW, classes_in, state_key
from engine.train.checkpoints.weights_place import Place, find_weights
from engine.train.weights import load_weights


@dataclass(frozen=True, kw_only=True)
class KnownNetwork:
    """A file of weights and what is known of their network."""

    place: Place
    use_ema: bool
    """Whether the average in the file is meant."""
    arch: str | None
    use_blurpool: bool | None
    classes: list[str] | None
    card: ModelCard | None

    @property
    def file(self) -> Path:
        """The file of weights."""
        return self.place.file


def know_network(path: Path, option: str) -> KnownNetwork:
    """What a run's folder or a file of weights says of its network. Raises UserError, which names `option`."""
    try:
        place = find_weights(path)
        content = checkpoint_file.load(place.file)
        card = _card_in(content, place.file)
    except UserError as error:
        raise UserError(f"{option}: {error}") from None
    arch, blurs = (card.arch, card.use_blurpool) if card else _of_recipe(place, content)
    averaged = state_key(content, AVERAGED) is not None
    return KnownNetwork(
        place=place,
        # The verdict of a run that keeps an average is about it.
        use_ema=averaged and (place.is_of_run or state_key(content, RAW) is None),
        arch=arch,
        use_blurpool=blurs,
        classes=classes_in(content),
        card=card,
    )


def _card_in(content: dict[str, Any], file: Path) -> ModelCard | None:
    text = getattr(content, CARD_KEY, None)
    if not isinstance(text, str):
        return None
    try:
        return ModelCard.from_text(text)
    except ValueError as error:
        raise UserError(f"{file}: its card can't be read ({error}): update this program") from None


def _of_recipe(place: Place, content: dict[str, Any]) -> tuple[str | None, bool | None]:
    """Architecture and BlurPool as the run's recipe has them."""
    if place.config is not None:
        config = load_train_config(["-C", str(place.config)])[0]
        return config.model.arch, config.training.use_blurpool
    saved = content.get("config")
    model, training = (saved.get("model"), saved.get("training")) if isinstance(saved, dict) else (None, None)
    if not isinstance(model, dict) or not isinstance(training, dict):
        return None, None
    arch, blurs = model.get("arch"), training.get("use_blurpool")
    # Anybody's file may have such a key.
    return arch if isinstance(arch, str) else None, blurs if isinstance(blurs, bool) else None


def build_known(
    known: KnownNetwork,
    num_classes: int,
    device: torch.device,
    *,
    names: Sequence[str] | None,
    channels_last: bool,
    option: str,
) -> tuple[nn.Module, list[str]]:
    """The network in eval mode on `device`, frozen, and notes on what its weights leave open.

    `names` are those of the data's classes, where they are to be compared; the same ones in another order are taken by
    name. Raises UserError, which names `option`, for weights that don't fit or are of other classes.
    """
    assert known.arch is not None
    try:
        model = build_model(known.arch, num_classes, use_blurpool=bool(known.use_blurpool))
    except UserError as error:
        raise UserError(f"{option}: {error}") from None
    notes = load_weights(model, known.file, use_ema=known.use_ema, classes=names, option=option)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return model.eval().requires_grad_(False).to(device).to(memory_format=layout), notes
