"""Checkpoint files: written whole or not at all, read back without running pickled code.

Also EpochState, the position of a run between two steps, which a checkpoint holds beside weights and optimizer.
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
    """Write `content` (nested tensors, numbers and text) to `path` atomically. Raises UserError, as for a full disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Through a buffer: torch reports a full disk as an unrelated error.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Read a file that `save` or torch.save wrote, onto the CPU. Raises UserError for a missing or damaged file."""
    try:
        _check_bytes(path)
        # Checkpoints of torchvision's and timm's scripts hold their arguments as a Namespace: attributes, no code.
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
    """Raises UserError for damage that torch.load does not notice, such as changed bytes, or only warns of."""
    if path.stat().st_size == 0:
        raise UserError(f"{path} is not a whole checkpoint: it is empty")
    # Files of torch.save before 1.6 are not zip files and have no checksums.
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise UserError(
                f"{path} is a TorchScript program, not a checkpoint: save its state_dict() instead"
            )
        # No checksums: written after torch.serialization.set_crc32_options(False).
        bad = archive.testzip() if any(part.CRC for part in archive.infolist()) else None
    if bad:
        raise UserError(f"{path} is not a whole checkpoint: the checksum of {bad} in it is wrong")


@dataclass(frozen=True, kw_only=True)
class EpochState:
    """The position between two steps: `step` optimizer steps of epoch `epoch` (from 0) are done.

    The other fields are figures of the epoch so far for its log line: seconds of training, seconds of waiting for data,
    skipped samples. After the last step of an epoch, its validation and log line are still to come.
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
    """What is called around each step and may save or end the run (saver.Saver)."""

    def begin_step(self) -> None: ...
    def end_step(self, state: Callable[[], EpochState]) -> None: ...
