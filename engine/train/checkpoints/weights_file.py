"""The weights in a file of any program: which of its entries they are, under which names, and for which classes.

A file may hold a plain state_dict, or a checkpoint with one as "model", "state_dict" or another usual key (RAW), and
its moving average as "ema", "model_ema" or another one (AVERAGED). Names may start with `module.`
(DistributedDataParallel), `_orig_mod.` (torch.compile), or where the network is a part of another module with that
part's name (`model.`, Lightning's).
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.errors import UserError
from engine.train.checkpoints import checkpoint_file

RAW = ("model", "state_dict", "model_state_dict", "net", "weights")
AVERAGED = ("ema", "model_ema", "state_dict_ema", "ema_state_dict", "ema_model")
PREFIXES = ("module.", "_orig_mod.")
# torch.optim.swa_utils.AveragedModel's own counter, which torchvision's reference scripts save.
COUNTER = "n_averaged"
# How deep in a checkpoint weights are looked for, where they are under none of the usual keys.
_DEPTH = 3
# ffcv-imagenet's and Composer's BlurPool: the filter, beside the convolution as "conv". Ours has no such entry.
BLUR_FILTER, _BLURRED = "blur_filter", "conv."

State = Mapping[str, torch.Tensor]


def with_classes(state: State, names: Sequence[str] | None) -> "OrderedDict[str, torch.Tensor]":
    """A plain state_dict, with the class names as its attribute `class_names`, which load_state_dict ignores."""
    named: OrderedDict[str, torch.Tensor] = OrderedDict(state)
    if names is not None:
        named.class_names = list(names)  # type: ignore[attr-defined]
    return named


def classes_in(content: Mapping[str, Any]) -> list[str] | None:
    """The class names, in the order of the outputs, that a file of ours says its weights are for; None: it doesn't."""
    names = getattr(content, "class_names", None) or content.get("classes")
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_list else None


def read_weights(path: Path, *, use_ema: bool = False, key: str = "") -> "OrderedDict[str, torch.Tensor]":
    """The weights in a file, by plain names and with_classes. `key` names the entry, as in "state.model".

    Raises UserError if it has none, several of which none has a usual key, or no average with `use_ema`.
    """
    return weights_in(path, checkpoint_file.load(path), use_ema=use_ema, key=key)


def weights_in(
    path: Path, content: dict[str, Any], *, use_ema: bool = False, key: str = ""
) -> "OrderedDict[str, torch.Tensor]":
    """As `read_weights`, of what `checkpoint_file.load` read from `path`."""
    content = _as_tensors(content)
    state = _at(path, content, key) if key else _find(path, content, use_ema=use_ema)
    return with_classes(without_blur(without_prefix(state)), classes_in(content))


def _find(path: Path, content: Mapping[str, Any], *, use_ema: bool) -> State:
    found = state_key(content, AVERAGED if use_ema else RAW)
    if found:
        return dict(content[found])
    if use_ema:
        raise UserError(f"model.use_ema: {path} holds no moving average; drop the option")
    if is_state(content):
        return content
    states = dict(_states(content))
    if len(states) == 1:
        return next(iter(states.values()))
    if states:
        raise UserError(
            f"{path} holds weights under several keys, {', '.join(states)}: name one of them, as with "
            f"--model.weights_key={next(iter(states))}"
        )
    averaged = state_key(content, AVERAGED)
    advice = (
        "it holds only a moving average: pass --model.use_ema=true" if averaged else "pass a file of weights"
    )
    raise UserError(f"{path} holds no weights: {advice}")


def _states(content: Mapping[Any, Any], before: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, State]]:
    """All state_dicts in a checkpoint but averages, with their keys in dotted form."""
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, Mapping) and key not in AVERAGED:
            if is_state(value):
                yield before + key, value
            elif depth > 1:
                yield from _states(value, f"{before}{key}.", depth - 1)


def _at(path: Path, content: Mapping[str, Any], key: str) -> State:
    """The weights under a dotted key; where only names go on as it does (as in "state_dict.student"), those weights."""
    value, left = content, key
    while left:
        step = next((name for name in _steps(left) if isinstance(value.get(name), Mapping)), None)
        if step is None:
            break
        value, left = value[step], left[len(step) + 1 :]
    if left:
        value = {name.removeprefix(f"{left}."): one for name, one in value.items() if _is_below(name, left)}
    if not is_state(value):
        there = ", ".join([name for name, _ in _states(content)]) or ", ".join(map(str, list(content)[:5]))
        raise UserError(f"model.weights_key: {path} holds no weights under {key}; it has {there}")
    return value


def _steps(key: str) -> list[str]:
    """The ways to begin a dotted key, the longest first: keys may have dots themselves."""
    parts = key.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _is_below(name: Any, prefix: str) -> bool:
    return isinstance(name, str) and name.startswith(f"{prefix}.")


def _as_tensors(content: dict[str, Any]) -> dict[str, Any]:
    """The same with numpy arrays as tensors, in state_dicts that consist of them."""
    if content and all(isinstance(value, np.ndarray) for value in content.values()):
        return {name: torch.from_numpy(value) for name, value in content.items() if value.dtype != object}
    return content


def state_key(content: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    """The first of `keys` under which a checkpoint holds weights; None if there is none."""
    return next((key for key in keys if is_state(content.get(key))), None)


def is_state(value: Any) -> bool:
    """Whether `value` is a state_dict: only names with tensors."""
    return (
        isinstance(value, Mapping)
        and any(key != COUNTER for key in value)
        and all(isinstance(key, str) and isinstance(item, torch.Tensor) for key, item in value.items())
    )


def without_prefix(state: State) -> dict[str, torch.Tensor]:
    """`state` without prefixes that all names share, and without the counter of an average."""
    state = {name: value for name, value in state.items() if name != COUNTER}
    while prefix := next((one for one in PREFIXES if all(name.startswith(one) for name in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return dict(state)


def blurred_in(state: State) -> list[str]:
    """The modules that are ffcv-imagenet's BlurPool, as prefixes of names."""
    return [name.removesuffix(BLUR_FILTER) for name in state if name.endswith(f".{BLUR_FILTER}")]


def without_blur(state: State) -> dict[str, torch.Tensor]:
    """`state` with the convolutions of ffcv-imagenet's BlurPool under their plain names. The filters stay in it."""
    plain = {f"{module}{_BLURRED}": module for module in blurred_in(state)}
    renamed = {}
    for name, value in state.items():
        head, _, last = name.rpartition(".")
        renamed[plain.get(f"{head}.", f"{head}." if head else "") + last] = value
    return renamed


def own_part(
    path: Path, state: State, own: Sequence[str], head: str
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The weights of a network among those of a larger module, and the names of what else there is.

    `own` are the network's names, `head` those that may be elsewhere or missing. The part is where all others are.
    Raises UserError where that is so of several parts.
    """
    body = [name for name in own if not name.startswith(head) and not name.endswith("num_batches_tracked")]
    ends = {name[: -len(body[0])] for name in state if name.endswith(f".{body[0]}")} if body else set()
    prefixes = sorted(prefix for prefix in ends if all(prefix + name in state for name in body))
    if not prefixes or body[0] in state:
        return dict(state), []
    if len(prefixes) > 1:
        places = " and ".join(prefix.rstrip(".") for prefix in prefixes)
        raise UserError(
            f"{path} holds several networks that fit, under {places}: name one of them, as with "
            f"--model.weights_key={prefixes[0].rstrip('.')}"
        )
    part = {
        name.removeprefix(prefixes[0]): value for name, value in state.items() if name.startswith(prefixes[0])
    }
    others = [name for name in state if not name.startswith(prefixes[0])]
    for missing in set(own) - set(part):
        # Only where the classifier is a module beside the rest.
        found = [name for name in others if name.endswith(f".{missing}")]
        if missing.startswith(head) and len(found) == 1:
            part[missing] = state[found[0]]
            others.remove(found[0])
    return part, others
