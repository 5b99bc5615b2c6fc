"""Loading weights from our, torchvision's or timm's files, and building the network of a run with them.

A file may hold a plain state_dict, or a checkpoint with one as "model" or "state_dict" and its moving average as "ema",
"model_ema" or "state_dict_ema". Names may start with `module.` (DistributedDataParallel) or `_orig_mod.`
(torch.compile).
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

# torchvision's files of GoogLeNet and Inception have auxiliary heads; our networks do not (build.py).
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def load_weights(model: nn.Module, path: Path, *, use_ema: bool = False, reset_head: bool = False) -> None:
    """Load the weights of `path` into `model`, strictly; with `use_ema` the file's moving average.

    With `reset_head` the classifier keeps its present weights. Raises UserError naming the first weight that is
    missing, unexpected or of another shape.
    """
    state, own = read_weights(path, use_ema=use_ema), model.state_dict()
    head = f"{classifier_name(model)}."
    if not any(name.startswith(_AUXILIARY) for name in own):
        state = {name: value for name, value in state.items() if not name.startswith(_AUXILIARY)}
    # Files from before torch 0.4.1 lack the batch counters, which do not affect the outputs.
    state = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")} | state
    if reset_head:
        state = {name: value for name, value in state.items() if not name.startswith(head)}
        state |= {name: value for name, value in own.items() if name.startswith(head)}
    for name in [*own, *state]:
        problem = _misfit(name, state, own)
        if problem and name.startswith(head):
            advice = "for another number of classes --model.reset_head=true starts with a new classifier"
            raise UserError(f"{path} does not fit this network: {problem}; {advice}, else check model.arch")
        if problem:
            raise UserError(f"{path} does not fit this network: {problem}; check model.arch")
    model.load_state_dict(state, strict=True)


def read_weights(path: Path, *, use_ema: bool = False) -> dict[str, torch.Tensor]:
    """The weights in a file, by plain names. Raises UserError if it has none, or no average with `use_ema`."""
    content = checkpoint_file.load(path)
    key = state_key(content, AVERAGED if use_ema else RAW)
    if key is None and use_ema:
        raise UserError(f"model.use_ema: {path} holds no moving average; drop the option")
    state = content if key is None else content[key]
    if not is_state(state):
        averaged = state_key(content, AVERAGED)
        advice = (
            "it holds only a moving average: pass --model.use_ema=true"
            if averaged
            else "pass a file of weights"
        )
        raise UserError(f"{path} holds no weights: {advice}")
    return without_prefix(state)


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


def without_prefix(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`state` without prefixes that all names share, and without the counter of an average."""
    state = {name: value for name, value in state.items() if name != COUNTER}
    while prefix := next((one for one in PREFIXES if all(name.startswith(one) for name in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _misfit(name: str, state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> str:
    """What is wrong with the weight, in a few words; empty if it fits."""
    if name not in state:
        return f"it lacks {name}"
    if name not in own:
        return f"it holds {name}, unknown here"
    if state[name].shape != own[name].shape:
        return f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
    return ""


def build_network(config: TrainConfig, num_classes: int, device: torch.device) -> nn.Module:
    """The recipe's network on `device`, with the weights to start from; weights that are not trained are frozen.

    Raises UserError for an image size that it can't take, and for weights that don't fit.
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
    """The network with random weights from the seed, on the CPU. Raises UserError for an image size it can't take."""
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
    """The image sizes of the run, in pixels, by the option that sets them."""
    epochs = 0 if config.training.eval_only else config.training.epochs
    trained = {resolution_at(config.resolution, epoch, epochs) for epoch in range(epochs)}
    return {
        "section resolution": sorted(trained),
        "validation.resolution": [config.validation.resolution],
        "validation.search": config.validation.search_list(),
        "validation.resolutions": config.validation.resolution_list(),
        "validation.plain_resolution": [config.validation.plain_resolution],
    }
