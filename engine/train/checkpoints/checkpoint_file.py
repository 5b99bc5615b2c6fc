"""Weights and training state on disk: whole or absent, read back without running pickled code.

How far a run has come, between two steps: what a checkpoint holds beside weights and optimizer.
"""

import argparse
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

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
        _check_bytes(path)
        # torchvision's and timm's scripts keep their command line in it: attributes, no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except OSError as error:
        raise describe_os_error(error, path, "read the checkpoint") from None
    except (RuntimeError, MemoryError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a whole checkpoint: {first}") from None
    except Exception:  # noqa: BLE001 - unpickling damaged bytes ends in any error, whose words say nothing of the file
        raise UserError(
            f"{path} is not a whole checkpoint: torch.save did not write it, its bytes were changed, or it holds more "
            "than tensors, numbers and text"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a checkpoint: it holds a {type(content).__name__}")
    return cast(dict[str, Any], content)


def _check_bytes(path: Path) -> None:
    """Raises UserError for what torch.load does not notice, such as changed bytes, or tells in a warning."""
    if path.stat().st_size == 0:
        raise UserError(f"{path} is not a whole checkpoint: it is empty")
    # Files of torch.save before 1.6 are none, and have no checksums.
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise UserError(
                f"{path} is a TorchScript program, not a checkpoint: save its state_dict() instead"
            )
        # None at all: written after torch.serialization.set_crc32_options(False).
        bad = archive.testzip() if any(part.CRC for part in archive.infolist()) else None
    if bad:
        raise UserError(f"{path} is not a whole checkpoint: the checksum of {bad} in it is wrong")


@dataclass(frozen=True, kw_only=True)
class EpochState:
    """`step` optimizer steps of epoch `epoch` (from 0) are done; the rest is what the epoch's log line will say of it.

    When all steps are done, validation and the log line are still to come.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    skips: int = 0
    losses: dict[str, Any] = field(default_factory=dict)
    """EpochLosses.state_dict(); empty before the first step."""

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}, step {self.step}"


class Pauses(Protocol):
    """Who may save, or end, a run between two steps (saver.Saver)."""

    def begin_step(self) -> None: ...
    def end_step(self, state: Callable[[], EpochState]) -> None: ...
