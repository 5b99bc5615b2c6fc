"""Weights and training state on disk: whole or absent, read back without running pickled code."""

import io
import pickle
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from engine.errors import UserError, describe_os_error
from engine.files import atomic_write


def save(path: Path, content: dict[str, Any]) -> None:
    """Write `content` (tensors, numbers, text, nested) to `path` atomically. Raises UserError (full disk, ...)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not straight into the file: torch would hide a full disk behind an error of its own.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote, onto the CPU. Raises UserError for a missing, damaged or foreign file."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise describe_os_error(error, path, "read the checkpoint") from None
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise UserError(f"{path} is not a whole checkpoint: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a checkpoint: it holds a {type(content).__name__}")
    return cast(dict[str, Any], content)


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a weights.pt (a plain state_dict) or a checkpoint's model into `model`, strictly.

    Raises UserError naming the first weight that is missing, unexpected or of another shape.
    """
    content = load(path)
    state = content.get("model", content)
    own = model.state_dict()
    for name in [*own, *state]:
        if name not in state:
            raise UserError(f"{path} does not fit this network: it lacks {name}; check model.arch")
        if name not in own:
            raise UserError(
                f"{path} does not fit this network: it holds {name}, unknown here; check model.arch"
            )
        if state[name].shape != own[name].shape:
            theirs, ours = tuple(state[name].shape), tuple(own[name].shape)
            raise UserError(
                f"{path} does not fit this network: {name} is {theirs}, not {ours}; check model.arch"
            )
    model.load_state_dict(state, strict=True)
