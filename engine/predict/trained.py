"""A trained network from a run's folder or any file of weights, with all that is known of it.

    trained = load_trained("runs/NAME")
    trained.model, trained.card, trained.names

`load_trained` reads what engine.train.weights reads. The card (engine/runs/model_card.py) is the file's own; without
one it is made of the run's config.yaml, or of what the file, its name and the caller say.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.config.load import load_train_config
from engine.data.loading.loader import MEAN, STD
from engine.errors import UserError
from engine.models.build import build_model
from engine.models.head import classifier_name
from engine.models.input_size import refuse_sides
from engine.predict.names import IMAGENET_CLASSES, read_names, readable_names
from engine.runs.model_card import CARD_KEY, CARD_SCHEMA, ModelCard, Preprocessing
from engine.train.checkpoints import checkpoint_file
from engine.train.checkpoints.weights_file import AVERAGED, RAW, State, blurred_in, state_key, weights_in
from engine.train.checkpoints.weights_place import Place, find_weights
from engine.train.evaluation.validator import PLAIN_CROP_LAW, own_conditions
from engine.train.weights import place_weights

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
    "change the weights' file": "give another file",
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


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the caller says of weights; what is empty, 0 or None is taken from the card, or from the usual values."""

    arch: str = ""
    use_blurpool: bool | None = None
    resolution: int = 0
    """Pixels."""
    ratio: float = 0.0
    """Side of the crop / short side of the image."""
    crop_law: str = ""
    """fused or torchvision: validation.crop_law."""


def load_trained(
    path: str | Path,
    *,
    device: str = "auto",
    names: Path | None = None,
    averaged: bool | None = None,
    given: Given | None = None,
) -> Trained:
    """The network of a run's folder or of a file of weights.

    `device` is auto (a GPU where there is one), cpu, cuda or cuda:N. `names` is a file with a readable name for each
    output. `averaged` asks for the averaged weights (EMA) or for the others; None: of a run those that its verdict is
    about, of a file those under its usual key. Raises UserError, one line, for what can't be read or doesn't fit.
    """
    target, said = _device(device), given or Given()
    place = find_weights(Path(path), averaged)
    content = checkpoint_file.load(place.file)
    try:
        state = weights_in(place.file, content, use_ema=_takes_average(content, place, averaged))
        card = _with_given(_card(place, content, state, said), said)
        model = build_model(card.arch, card.num_classes, use_blurpool=card.use_blurpool)
        refuse_sides(model, card.arch, {"--resolution": [card.preprocessing.resolution]})
        notes = place_weights(model, place.file, state)
    except UserError as error:
        raise UserError(_in_our_words(str(error))) from None
    model = model.requires_grad_(False).eval().to(target).to(memory_format=torch.channels_last)
    ids = card.classes or [str(number) for number in range(card.num_classes)]
    found = read_names(names, card.num_classes) if names else readable_names(ids)
    return Trained(
        model=model,
        card=card,
        path=place.file,
        run=place.run,
        names=found,
        device=target,
        notes=notes,
    )


def _device(name: str) -> torch.device:
    """Raises UserError for a device that is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name!r} is unknown: give auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name}: torch sees no GPU here; give cpu")
    return device


def _takes_average(content: dict[str, Any], place: Place, averaged: bool | None) -> bool:
    has = state_key(content, AVERAGED) is not None
    if averaged is None:
        # The verdict of a run that keeps an average is about it.
        return has and (place.is_of_run or state_key(content, RAW) is None)
    return averaged and (has or not place.is_average)


def _card(place: Place, content: dict[str, Any], state: State, said: Given) -> ModelCard:
    """The file's card, the run's recipe as one, or what else can be known. Raises UserError for an unknown network."""
    text = getattr(content, CARD_KEY, None)
    if isinstance(text, str):
        try:
            return ModelCard.from_text(text)
        except ValueError as error:
            raise UserError(f"{place.file}: its card can't be read ({error}): update this program") from None
    if place.config is not None:
        return _card_of_recipe(place, state)
    arch = said.arch or _arch_in(content)
    if not arch:
        raise UserError(
            f"{place.file} does not say which network it is of: pass --arch NAME, such as --arch resnet50"
        )
    count = _count_outputs(place, state, arch)
    return ModelCard(
        schema=CARD_SCHEMA,
        arch=arch,
        num_classes=count,
        classes=_classes(state),
        use_blurpool=bool(blurred_in(state)),
        averaged=None,
        preprocessing=Preprocessing(
            resolution=224, ratio=0.875, crop_law=PLAIN_CROP_LAW, mean=_levels(MEAN), std=_levels(STD)
        ),
        accuracies=[],
    )


def _card_of_recipe(place: Place, state: State) -> ModelCard:
    """Of a run from before there were cards, or of its checkpoint."""
    config, recipe = load_train_config(["-C", str(place.config)])
    asked = own_conditions(config.validation)
    return ModelCard(
        schema=CARD_SCHEMA,
        arch=config.model.arch,
        num_classes=_count_outputs(place, state, config.model.arch),
        classes=_classes(state),
        use_blurpool=config.training.use_blurpool,
        averaged=None,
        preprocessing=Preprocessing(
            resolution=asked.resolution,
            ratio=asked.ratio,
            crop_law=asked.crop_law,
            mean=_levels(MEAN),
            std=_levels(STD),
        ),
        accuracies=[],
        recipe=recipe,
        run=place.run.name if place.run else None,
        seed=config.training.seed,
    )


def _with_given(card: ModelCard, said: Given) -> ModelCard:
    asked = card.preprocessing
    asked = replace(
        asked,
        resolution=said.resolution or asked.resolution,
        ratio=said.ratio or asked.ratio,
        crop_law=said.crop_law or asked.crop_law,
    )
    blurs = card.use_blurpool if said.use_blurpool is None else said.use_blurpool
    return replace(card, arch=said.arch or card.arch, use_blurpool=blurs, preprocessing=asked)


def _levels(values: tuple[float, ...]) -> list[float]:
    return [value / 255 for value in values]


def _classes(state: State) -> list[str] | None:
    names: list[str] | None = getattr(state, "class_names", None)
    return names


def _count_outputs(place: Place, state: State, arch: str) -> int:
    """How many classes the weights are for, by their classifier. Raises UserError where they have none."""
    head = classifier_name(build_model(arch, IMAGENET_CLASSES, use_blurpool=False)) + ".weight"
    found = [value for name, value in state.items() if name == head or name.endswith(f".{head}")]
    if not found or not found[0].ndim:
        raise UserError(f"{place.file} does not fit {arch}: it lacks {head}; check model.arch")
    return len(found[0])


def _arch_in(content: dict[str, Any]) -> str:
    """The network's name in checkpoints of torch's, torchvision's and timm's scripts; empty where there is none."""
    args = content.get("args")
    found = content.get("arch") or getattr(args, "model", None) or getattr(args, "arch", None)
    return found if isinstance(found, str) else ""


def _in_our_words(message: str) -> str:
    for theirs, ours in _OPTIONS.items():
        message = message.replace(theirs, ours)
    return message
