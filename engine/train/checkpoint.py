"""Weights and training state on disk: whole or absent, read back without running pickled code."""

import argparse
import io
import pickle
from pathlib import Path
from typing import Any, cast

import torch

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
        # torchvision's and timm's scripts keep their command line in it: attributes, no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise describe_os_error(error, path, "read the checkpoint") from None
    # Its words advise to run what is in the file.
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} is not a whole checkpoint: torch.save did not write it, or it holds more than tensors, numbers "
            "and text"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path} is not a whole checkpoint: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a checkpoint: it holds a {type(content).__name__}")
    return cast(dict[str, Any], content)
