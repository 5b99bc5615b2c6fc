"""The card of weights that have none of their own: what the run's recipe, the file, its name or the caller say.

torchvision's files are known by their names, timm's by the config.json beside them (as Hugging Face's hub has it), the
checkpoints of torch's, torchvision's and timm's scripts by the network's name in them. The rest is what is usual.
"""

import importlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torchvision

from engine.config.load import load_train_config
from engine.data.loading.loader import MEAN, STD
from engine.errors import UserError
from engine.models.build import MODELS, build_model, torchvision_names
from engine.models.from_timm import PREFIX
from engine.models.head import classifier_name
from engine.predict.names import IMAGENET_CLASSES
from engine.runs.model_card import CARD_KEY, CARD_SCHEMA, ModelCard, Preprocessing
from engine.train.checkpoints.weights_file import State, blurred_in
from engine.train.checkpoints.weights_place import Place
from engine.train.evaluation.validator import PLAIN_CROP_LAW, own_conditions

_RESOLUTION, _RATIO = 224, 224 / 256
_MEAN, _STD = ([value / 255 for value in levels] for levels in (MEAN, STD))
_TORCHVISION_FILE = re.compile(r".+-[0-9a-f]{8,10}\.pth")
_LARGEST_CONFIG = 10**6


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the caller says of weights; what is empty, 0 or None is taken from the card, or is what is usual."""

    arch: str = ""
    use_blurpool: bool | None = None
    resolution: int = 0
    """Pixels."""
    ratio: float = 0.0
    """Side of the crop / short side of the image."""
    crop_law: str = ""
    """fused or torchvision: validation.crop_law."""
    key: str = ""
    """The entry of a checkpoint, as in "state.model": model.weights_key."""


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A network's name, and what its publisher says of its input."""

    arch: str = ""
    preprocessing: Preprocessing | None = None


def own_card(content: dict[str, Any], file: Path, said: Given) -> ModelCard | None:
    """The card in a file of ours. Raises UserError for a damaged one, or one of another network than is said."""
    text = getattr(content, CARD_KEY, None)
    if not isinstance(text, str):
        return None
    try:
        card = ModelCard.from_text(text)
    except ValueError as error:
        raise UserError(f"{file}: its card can't be read ({error}): update this program") from None
    if said.arch not in ("", card.arch):
        raise UserError(f"{file} is of {card.arch}, and --arch says {said.arch}: leave out --arch")
    return card


def possible_cards(
    place: Place, content: dict[str, Any], state: State, said: Given
) -> Iterator[Callable[[], ModelCard]]:
    """Makers of cards for weights without one, the likeliest first.

    A name may be of a network of torchvision's and of one of timm's. Raises UserError where nothing says which network
    it is; a maker does where the weights can't be of its network.
    """
    if place.config is not None:
        yield partial(_card_of_recipe, place, state)
        return
    known = _torchvision_file(place.file.name) or _timm_config(place.file) or _Known(arch=_arch_in(content))
    arch = said.arch or known.arch
    if not arch:
        raise UserError(
            f"{place.file} does not say which network it is of: pass --arch NAME, such as --arch resnet50"
        )
    for name in _networks(arch):
        expected = known.preprocessing if name == known.arch else None
        yield partial(_card, place.file, state, name, expected)


def _networks(arch: str) -> list[str]:
    """The networks that may be meant by a name."""
    if arch.startswith(PREFIX) or arch in MODELS.names() or importlib.util.find_spec("timm") is None:
        return [arch]
    return [arch, PREFIX + arch]


def with_given(card: ModelCard, said: Given) -> ModelCard:
    """The card with what the caller says in place of what it says."""
    asked = card.preprocessing
    asked = replace(
        asked,
        resolution=said.resolution or asked.resolution,
        ratio=said.ratio or asked.ratio,
        crop_law=said.crop_law or asked.crop_law,
    )
    blurs = card.use_blurpool if said.use_blurpool is None else said.use_blurpool
    return replace(card, use_blurpool=blurs, preprocessing=asked)


def _card_of_recipe(place: Place, state: State) -> ModelCard:
    """Of a run from before there were cards, or of its checkpoint."""
    config, recipe = load_train_config(["-C", str(place.config)])
    asked = own_conditions(config.validation)
    expected = _usual(asked.resolution, asked.ratio, asked.crop_law)
    return replace(
        _card(place.file, state, config.model.arch, expected),
        use_blurpool=config.training.use_blurpool,
        recipe=recipe,
        run=place.run.name if place.run else None,
        seed=config.training.seed,
    )


def _card(file: Path, state: State, arch: str, expected: Preprocessing | None) -> ModelCard:
    """Of weights of this network, with its publisher's preprocessing, or with what is usual."""
    return ModelCard(
        schema=CARD_SCHEMA,
        arch=arch,
        num_classes=_count_outputs(file, state, arch),
        classes=getattr(state, "class_names", None),
        use_blurpool=bool(blurred_in(state)),
        averaged=None,
        preprocessing=expected or _timm_usual(arch) or _usual(),
        accuracies=[],
    )


def _count_outputs(file: Path, state: State, arch: str) -> int:
    """How many classes the weights are for, by their classifier. Raises UserError where they have none."""
    head = classifier_name(build_model(arch, IMAGENET_CLASSES, use_blurpool=False)) + ".weight"
    found = [value for name, value in state.items() if name == head or name.endswith(f".{head}")]
    if not found or not found[0].ndim:
        raise UserError(f"{file} does not fit {arch}: it lacks {head}; check --arch")
    return len(found[0])


def _usual(
    resolution: int = _RESOLUTION,
    ratio: float = _RATIO,
    crop_law: str = PLAIN_CROP_LAW,
    mean: Sequence[float] = _MEAN,
    std: Sequence[float] = _STD,
) -> Preprocessing:
    return Preprocessing(
        resolution=resolution, ratio=ratio, crop_law=crop_law, mean=list(mean), std=list(std), exif=None
    )


def _arch_in(content: dict[str, Any]) -> str:
    """The network's name in checkpoints of torch's, torchvision's and timm's scripts; empty where there is none."""
    args = content.get("args")
    found = content.get("arch") or getattr(args, "model", None) or getattr(args, "arch", None)
    return found if isinstance(found, str) else ""


def _torchvision_file(name: str) -> _Known | None:
    """What torchvision says of a file of its own, such as resnet50-11ad3fa6.pth."""
    if not _TORCHVISION_FILE.fullmatch(name):
        return None
    for arch in torchvision_names():
        for weights in torchvision.models.get_model_weights(arch):
            if weights.url.endswith(f"/{name}"):
                asked = weights.transforms()
                (side,), (short,) = asked.crop_size, asked.resize_size
                expected = _usual(side, side / short, PLAIN_CROP_LAW, asked.mean, asked.std)
                return _Known(arch=arch, preprocessing=expected)
    return None


def _timm_config(file: Path) -> _Known | None:
    """What the config.json beside weights of timm's says. Raises UserError for one that can't be read."""
    path = file.with_name("config.json")
    if not path.is_file() or path.stat().st_size > _LARGEST_CONFIG:
        return None
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise UserError(f"{path} is no JSON, so that it can't say what {file.name} is: remove it") from None
    arch = content.get("architecture") if isinstance(content, dict) else None
    if not isinstance(arch, str):
        return None
    config = content.get("pretrained_cfg")
    expected = _of_timm(config if isinstance(config, dict) else {})
    return _Known(arch=PREFIX + arch, preprocessing=expected)


def _timm_usual(arch: str) -> Preprocessing | None:
    """What timm says of the weights of a network that it has."""
    if not arch.startswith(PREFIX):
        return None
    try:
        timm: Any = importlib.import_module("timm")
        config = timm.get_pretrained_cfg(arch.removeprefix(PREFIX))
    except (ModuleNotFoundError, RuntimeError):
        # build_model says so.
        return None
    return _of_timm(config.to_dict()) if config else None


def _of_timm(config: dict[str, Any]) -> Preprocessing | None:
    """timm's configuration as ours; None where it is not of the usual form."""
    size, ratio, mean, std = (config.get(key) for key in ("input_size", "crop_pct", "mean", "std"))
    try:
        side, share = int(size[-1]), float(ratio)  # type: ignore[index,arg-type]
        levels = [[float(value) for value in values] for values in (mean, std)]  # type: ignore[union-attr]
    except (TypeError, ValueError, IndexError, KeyError):
        return None
    if side < 1 or not 0 < share <= 1 or [len(values) for values in levels] != [3, 3]:
        return None
    return _usual(side, share, PLAIN_CROP_LAW, *levels)
