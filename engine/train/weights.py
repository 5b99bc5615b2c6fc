"""Weights from a file into a network: ours, torchvision's or timm's, whatever they are wrapped in.

Understood are a plain state_dict; a checkpoint that holds one as "model" or "state_dict" and the moving average of
it as "ema", "model_ema" or "state_dict_ema"; and names that start with `module.`, as DistributedDataParallel's, or
with `_orig_mod.`, as torch.compile's.

The network that a run trains or validates: built, tried on the run's image sides, with the weights to start from.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.models.build import build_model
from engine.models.head import classifier_name, train_only_head
from engine.models.input_size import refuse_sides
from engine.train.checkpoints import checkpoint_file
from engine.train.schedules import resolution_at

RAW = ("model", "state_dict")
AVERAGED = ("ema", "model_ema", "state_dict_ema")
PREFIXES = ("module.", "_orig_mod.")
# torch.optim.swa_utils.AveragedModel's own counter, which torchvision's reference scripts save.
COUNTER = "n_averaged"

# torchvision's files of GoogLeNet and Inception have them; here these networks come without (build.py).
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def load_weights(model: nn.Module, path: Path, *, use_ema: bool = False, reset_head: bool = False) -> None:
    """Load the weights of `path` into `model`, strictly; with `use_ema` the file's moving average.

    With `reset_head` the classifier stays as it is. Raises UserError naming the first weight that is missing,
    unexpected or of another shape.
    """
    state, own = read_weights(path, use_ema=use_ema), model.state_dict()
    head = f"{classifier_name(model)}."
    if not any(name.startswith(_AUXILIARY) for name in own):
        state = {name: value for name, value in state.items() if not name.startswith(_AUXILIARY)}
    # Files from before torch 0.4.1 lack the counters of batches, which no network's output depends on.
    state = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")} | state
    if reset_head:
        state = {name: value for name, value in state.items() if not name.startswith(head)}
        state |= {name: value for name, value in own.items() if name.startswith(head)}
    for name in [*own, *state]:
        problem = _misfit(name, state, own)
        if problem and name.startswith(head):
            advice = "it has another number of classes? --model.reset_head=true starts with a new classifier"
            raise UserError(f"{path} does not fit this network: {problem}; {advice}, or check model.arch")
        if problem:
            raise UserError(f"{path} does not fit this network: {problem}; check model.arch")
    model.load_state_dict(state, strict=True)


def read_weights(path: Path, *, use_ema: bool = False) -> dict[str, torch.Tensor]:
    """The weights that a file holds, by plain names. Raises UserError where there are none, or no average."""
    content = checkpoint_file.load(path)
    key = state_key(content, AVERAGED if use_ema else RAW)
    if key is None and use_ema:
        raise UserError(f"model.use_ema: {path} holds no moving average; drop the option")
    state = content if key is None else content[key]
    if not is_state(state):
        averaged = state_key(content, AVERAGED)
        advice = (
            "it holds a moving average alone: pass --model.use_ema=true" if averaged else "is it a model's?"
        )
        raise UserError(f"{path} holds no weights: {advice}")
    return without_prefix(state)


def state_key(content: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    """Under which of `keys` a checkpoint holds weights; None where under none of them."""
    return next((key for key in keys if is_state(content.get(key))), None)


def is_state(value: Any) -> bool:
    """Whether it is a state_dict: names with tensors, and nothing else."""
    return (
        isinstance(value, Mapping)
        and any(key != COUNTER for key in value)
        and all(isinstance(key, str) and isinstance(item, torch.Tensor) for key, item in value.items())
    )


def without_prefix(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`state` without the wrappers' prefixes, as far as all names have them, and the average's own counter."""
    state = {name: value for name, value in state.items() if name != COUNTER}
    while prefix := next((one for one in PREFIXES if all(name.startswith(one) for name in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _misfit(name: str, state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> str:
    """What is wrong with the weight, in a few words; empty where it fits."""
    if name not in state:
        return f"it lacks {name}"
    if name not in own:
        return f"it holds {name}, unknown here"
    if state[name].shape != own[name].shape:
        return f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
    return ""


def build_network(config: TrainConfig, num_classes: int, device: torch.device) -> nn.Module:
    """The recipe's network on `device`, with its weights and with what is not trained frozen.

    Raises UserError for a side that it can't take, and for weights that don't fit.
    """
    wanted = config.model
    model = bare_network(config, num_classes)
    if wanted.weights:
        load_weights(model, Path(wanted.weights), use_ema=wanted.use_ema, reset_head=wanted.reset_head)
    if wanted.train_only == "head":
        train_only_head(model)
    layout = torch.channels_last if config.training.channels_last else torch.contiguous_format
    return model.to(device).to(memory_format=layout)


def bare_network(config: TrainConfig, num_classes: int) -> nn.Module:
    """The same as the seed makes it, on the CPU. Raises UserError for a side that it can't take."""
    training, wanted = config.training, config.model
    torch.manual_seed(training.seed)
    model = build_model(
        wanted.arch,
        num_classes,
        use_blurpool=training.use_blurpool,
        stochastic_depth=wanted.stochastic_depth,
        dropout=wanted.dropout,
        zero_init=wanted.zero_init_residual,
    )
    refuse_sides(model, wanted.arch, _sides(config))
    return model


def _sides(config: TrainConfig) -> dict[str, list[int]]:
    """The image sides of the run, in pixels, by where they are set."""
    epochs = 0 if config.training.eval_only else config.training.epochs
    trained = {resolution_at(config.resolution, epoch, epochs) for epoch in range(epochs)}
    return {
        "section resolution": sorted(trained),
        "validation.resolution": [config.validation.resolution],
        "validation.search": config.validation.search_list(),
        "validation.resolutions": config.validation.resolution_list(),
        "validation.plain_resolution": [config.validation.plain_resolution],
    }
