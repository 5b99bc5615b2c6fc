"""A trained network from a run's folder or any file of weights, with all that is known of it.

    trained = load_trained("runs/NAME")
    trained.model, trained.card, trained.names

`load_trained` reads what engine.train.weights reads. The card (engine/runs/model_card.py) is the file's own, or is
made of what else is known (file_card.py).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.devices import KINDS, is_gpu, present
from engine.errors import UserError
from engine.models.build import build_model
from engine.models.input_size import refuse_sides
from engine.predict.file_card import Given, own_card, possible_cards, with_given
from engine.predict.names import read_names, readable_names
from engine.runs.model_card import ModelCard
from engine.train.checkpoints import checkpoint_file
from engine.train.checkpoints.weights_file import AVERAGED, RAW, State, state_key, weights_in
from engine.train.checkpoints.weights_place import Place, find_weights
from engine.train.weights import place_weights

__all__ = ["Given", "Trained", "load_trained"]

# In messages of engine.train.weights: what the options are called here.
_OPTIONS = {
    "; check model.arch and training.use_blurpool": "; check --arch and --blurpool",
    "pass --training.use_blurpool=true": "pass --blurpool",
    "for another number of classes --model.reset_head=true starts with a new classifier, else check model.arch": (
        "check --arch"
    ),
    "check model.arch": "check --arch",
    "model.arch: ": "--arch: ",
    "model.use_ema: ": "",
    "--model.use_ema=true": "--averaged",
    "--model.weights_key=": "--key ",
    "model.weights_key: ": "--key: ",
}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A network in eval mode on its device, and what is known of it."""

    model: nn.Module
    """(n, 3, h, w), normalised, to logits (n, classes); with BlurPool where it was trained with it."""
    card: ModelCard
    path: Path
    """The file that the weights are from."""
    run: Path | None
    """The run's folder, where there is one."""
    names: list[str]
    """A readable name for each output."""
    device: torch.device
    notes: list[str] = field(default_factory=list)
    """What was left out or taken for granted, a line each."""

    @property
    def ids(self) -> list[str]:
        """The class id of each output; its number where the ids are not known."""
        return self.card.classes or [str(number) for number in range(self.card.num_classes)]


def load_trained(
    path: str | Path,
    *,
    device: str = "auto",
    names: Path | None = None,
    averaged: bool | None = None,
    given: Given | None = None,
) -> Trained:
    """The network of a run's folder or of a file of weights.

    `device` is auto (a GPU where there is one), cpu, cuda, cuda:N, mps or xpu. `names` is a file with a readable name
    for each output. `averaged` asks for the averaged weights (EMA) or for the others; None: of a run those that its
    verdict is about, of a file those under its usual key. Raises UserError, one line, for what can't be read or doesn't
    fit.
    """
    target, said = _device(device), given or Given()
    place = find_weights(Path(path), averaged)
    content = checkpoint_file.load(place.file)
    try:
        average = _takes_average(content, place, averaged)
        state = weights_in(place.file, content, use_ema=average, key=said.key)
        own = own_card(content, place.file, said)
        makers = possible_cards(place, content, state, said) if own is None else [lambda: own]
        model, card, notes = _first_that_fits(makers, said, place.file, state)
    except UserError as error:
        raise UserError(_in_our_words(str(error))) from None
    model = model.requires_grad_(False).eval().to(target).to(memory_format=torch.channels_last)
    ids = card.classes or [str(number) for number in range(card.num_classes)]
    return Trained(
        model=model,
        card=card,
        path=place.file,
        run=place.run,
        names=read_names(names, card.num_classes) if names else readable_names(ids),
        device=target,
        notes=notes,
    )


def _first_that_fits(
    makers: Iterable[Callable[[], ModelCard]], said: Given, file: Path, state: State
) -> tuple[nn.Module, ModelCard, list[str]]:
    """The network of the first card whose network has weights of these names and shapes, and notes.

    Raises UserError as for the first card where there is none.
    """
    refusals = []
    for make in makers:
        try:
            card = with_given(make(), said)
            model = build_model(card.arch, card.num_classes, use_blurpool=card.use_blurpool)
            refuse_sides(model, card.arch, {"--resolution": [card.preprocessing.resolution]})
            return model, card, place_weights(model, file, state)
        except UserError as error:
            refusals.append(error)
    raise refusals[0]


def _device(name: str) -> torch.device:
    """Raises UserError for a device that is not here."""
    if name == "auto":
        return torch.device(present())
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in KINDS:
        raise UserError(f"device {name!r} is unknown: give auto, {' or '.join(KINDS)}")
    if is_gpu(device) and device.type != present():
        raise UserError(f"device {name}: torch sees no such GPU here; give cpu")
    return device


def _takes_average(content: dict[str, Any], place: Place, averaged: bool | None) -> bool:
    has = state_key(content, AVERAGED) is not None
    if averaged is None:
        # The verdict of a run that keeps an average is about it.
        return has and (place.is_of_run or state_key(content, RAW) is None)
    return averaged and (has or not place.is_average)


def _in_our_words(message: str) -> str:
    for theirs, ours in _OPTIONS.items():
        message = message.replace(theirs, ours)
    return message
