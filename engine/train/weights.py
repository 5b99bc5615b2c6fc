"""Loading weights of our, torchvision's, timm's or others' files, and building the network of a run with them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.data.beton.manifest import check_same_classes
from engine.devices import is_cuda, of_cuda
from engine.errors import UserError
from engine.models.blurpool import BlurConv2d, blur_by_triton
from engine.models.build import build_model
from engine.models.head import classifier_name, train_only_head
from engine.models.input_size import refuse_sides
from engine.models.stem import IMAGE_CHANNELS, widen_stem
from engine.train.checkpoints.weights_file import BLUR_FILTER, blurred_in, classes_in, own_part, read_weights
from engine.train.schedules import resolution_at
from engine.triton_support import why_not_triton

# torchvision's files of GoogLeNet and Inception have auxiliary heads; our networks do not (build.py).
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def load_weights(
    model: nn.Module,
    path: Path,
    *,
    use_ema: bool = False,
    reset_head: bool = False,
    key: str = "",
    classes: Sequence[str] | None = None,
    option: str = "model.weights",
) -> list[str]:
    """Load the weights of `path`, or of its entry `key`, into `model`, strictly; with `use_ema` the moving average.

    With `reset_head` the classifier keeps its present weights. `classes` are the names of the data's classes, where
    they are to be compared. Returns notes on what was left out or taken for granted. Raises UserError naming the first
    weight that is missing, unexpected or of another shape, and for other classes; `option` named the file. The same
    classes in another order are taken by name.
    """
    read = read_weights(path, use_ema=use_ema, key=key)
    return place_weights(model, path, read, reset_head=reset_head, classes=classes, option=option)


def place_weights(
    model: nn.Module,
    path: Path,
    read: Mapping[str, torch.Tensor],
    *,
    reset_head: bool = False,
    classes: Sequence[str] | None = None,
    option: str = "model.weights",
) -> list[str]:
    """As `load_weights`, with what `read_weights` read from `path`."""
    own = model.state_dict()
    head = f"{classifier_name(model)}."
    state, others = own_part(path, read, list(own), head)
    if not any(name.startswith(_AUXILIARY) for name in own):
        state = {name: value for name, value in state.items() if not name.startswith(_AUXILIARY)}
    state = _unblurred(path, model, state)
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
    notes = [f"{path}: left out what is beside the network, such as {others[0]}"] if others else []
    if classes is not None and not reset_head:
        order, further = _compare_classes(path, classes_in(read), classes, option)
        notes += further
        if order is not None:
            # A network's outputs are the rows of its classifier's weight and bias.
            state |= {name: value[order] for name, value in state.items() if name.startswith(head)}
    model.load_state_dict(state, strict=True)
    return notes


def _unblurred(path: Path, model: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`state` without the filters of ffcv-imagenet's BlurPool. Raises UserError if `model` blurs elsewhere, or not."""
    theirs = {name.rstrip(".") for name in blurred_in(state)}
    ours = {name for name, module in model.named_modules() if isinstance(module, BlurConv2d)}
    if theirs and theirs != ours:
        first = min(theirs ^ ours)
        advice = "check model.arch and training.use_blurpool" if ours else "pass --training.use_blurpool=true"
        raise UserError(
            f"{path} is of a network with BlurPool, as at {first}, and this one has none there: {advice}"
        )
    for name, module in model.named_modules():
        if isinstance(module, BlurConv2d) and name in theirs:
            _refuse_other_filter(path, name, state[f"{name}.{BLUR_FILTER}"], module.blur)
    return {
        name: value for name, value in state.items() if name.rpartition(f".{BLUR_FILTER}")[0] not in theirs
    }


def _refuse_other_filter(path: Path, name: str, theirs: torch.Tensor, ours: torch.Tensor) -> None:
    # Rounded, in weights of half precision.
    if theirs.shape[-2:] != ours.shape[-2:] or not torch.allclose(theirs.float(), ours.cpu(), atol=1e-3):
        raise UserError(
            f"{path} blurs with another filter than ffcv-imagenet's (1 2 1), at {name}: it can't be used here"
        )


def _compare_classes(
    path: Path, theirs: Sequence[str] | None, ours: Sequence[str], option: str
) -> tuple[list[int] | None, list[str]]:
    """The file's outputs in the order of the data's classes, where it is another one, and notes.

    Raises UserError where they are other classes than the data's.
    """
    if theirs is None:
        return None, [f"{path} does not name its classes: output number N is taken for label N of the data"]
    if list(theirs) == list(ours):
        return None, []
    number_of = {name: number for number, name in enumerate(theirs)}
    if len(number_of) == len(theirs) and sorted(theirs) == sorted(ours):
        return [number_of[name] for name in ours], [
            f"{path} has the data's classes in another order: its outputs are taken by name"
        ]
    try:
        check_same_classes(theirs, ours, str(path), ("the weights", "the data"))
    except UserError as error:
        anew = (
            ", start with a new classifier by --model.reset_head=true," if option == "model.weights" else ""
        )
        raise UserError(
            f"{option}: {error}; give data of the same classes{anew} or go by numbers alone with "
            "--model.match_classes=false"
        ) from None
    return None, []


def _misfit(name: str, state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> str:
    """What is wrong with the weight, in a few words; empty if it fits."""
    if name not in state:
        return f"it lacks {name}"
    if name not in own:
        return f"it holds {name}, unknown here"
    if state[name].shape != own[name].shape:
        return f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
    return ""


def build_network(
    config: TrainConfig,
    num_classes: int,
    device: torch.device,
    names: Sequence[str] | None = None,
    tell: Callable[[str], None] = lambda note: None,
) -> nn.Module:
    """The recipe's network on `device`, with the weights to start from; weights that are not trained are frozen.

    `names` are those of the data's classes, where they are known; `tell` gets a line on what the weights leave open.
    Raises UserError for an image size or a kernel that it can't take, and for weights that don't fit or are of other
    classes.
    """
    wanted = config.model
    model = bare_network(config, num_classes)
    if wanted.weights:
        notes = load_weights(
            model,
            Path(wanted.weights),
            use_ema=wanted.use_ema,
            reset_head=wanted.reset_head,
            key=wanted.weights_key,
            classes=names if wanted.match_classes else None,
        )
        for note in notes:
            tell(note)
    if config.training.blur_kernel == "triton":
        reason = why_not_triton(device)
        if reason:
            raise UserError(
                f"training.blur_kernel=triton can't be used here: {reason}; pass --training.blur_kernel=convolution"
            )
        blur_by_triton(model)
    if config.training.stem_channels > IMAGE_CHANNELS:
        _widen_stem(model, config, device)
    if wanted.train_only == "head":
        train_only_head(model)
    layout = torch.channels_last if config.training.channels_last else torch.contiguous_format
    return model.to(device).to(memory_format=layout)


def _widen_stem(model: nn.Module, config: TrainConfig, device: torch.device) -> None:
    option = f"training.stem_channels={config.training.stem_channels}"
    if not is_cuda(device):
        # oneDNN's four-channel convolutions in NHWC write beyond their output on CPUs without AVX-512 (torch 2.15).
        raise UserError(
            f"{option} needs a GPU{of_cuda(device)}, and this run is on the {device.type}: drop it, the weights are "
            "the same"
        )
    if not widen_stem(model, config.training.stem_channels):
        raise UserError(f"{option}: {config.model.arch} has no plain convolution over the image: drop it")


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
    refuse_sides(model, wanted.arch, sides_of(config))
    return model


def sides_of(config: TrainConfig) -> dict[str, list[int]]:
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
