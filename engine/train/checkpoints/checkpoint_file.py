"""Checkpoint files: written whole or not at all, read back without running pickled code.

Also EpochState, the position of a run between two steps, which a checkpoint holds beside weights and optimizer.
"""

import argparse
import io
import pathlib
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch

from engine.errors import UserError, describe_os_error
from engine.files import atomic_write
from engine.runs.model_card import CARD_KEY, ModelCard

_CORE, _DTYPES = (
    "numpy.core.multiarray",
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64",
)
# numpy's own functions that rebuild a number and an array.
_SCALAR, _ARRAY = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
_ALLOWED: list[Any] = [
    # Checkpoints of torchvision's and timm's scripts hold their arguments as a Namespace: attributes, no code.
    argparse.Namespace,
    *((pathlib.PosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
    # Numbers and arrays of numpy: accuracies, mostly. numpy 1 wrote them under other names.
    *(_SCALAR, _ARRAY, (_SCALAR, f"{_CORE}.scalar"), (_ARRAY, f"{_CORE}._reconstruct"), np.ndarray, np.dtype),
    *(type(np.dtype(name)) for name in _DTYPES.split()),
]
"""What a checkpoint may hold beside tensors, numbers and text: nothing that runs code of the file."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Write `content` (nested tensors, numbers and text) to `path` atomically. Raises UserError, as for a full disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Through a buffer: torch reports a full disk as an unrelated error.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Read a file that `save`, torch.save or safetensors wrote, onto the CPU.

    Raises UserError for a missing or damaged file.
    """
    try:
        _check_bytes(path)
        if _is_safetensors(path):
            return _read_safetensors(path)
        with torch.serialization.safe_globals(_ALLOWED):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except OSError as error:
        raise describe_os_error(error, path, "read the checkpoint") from None
    except (RuntimeError, MemoryError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a whole checkpoint: {first}") from None
    except Exception as error:  # noqa: BLE001 - unpickling damaged bytes ends in any error, whose words say nothing
        if held := re.search(r"GLOBAL (\S+) was not an allowed global", str(error)):
            raise UserError(
                f"{path} is not read: it holds a {held[1]}, and reading that could run any code; where you trust the "
                "file, load it with torch.load(..., weights_only=False) and save the network's state_dict() alone"
            ) from None
        raise UserError(
            f"{path} is not a whole checkpoint: torch.save did not write it, its bytes were changed, or it holds more "
            "than tensors, numbers and text"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a checkpoint: it holds a {type(content).__name__}")
    return cast(dict[str, Any], content)


def _read_safetensors(path: Path) -> dict[str, Any]:
    """The tensors and, as attributes as in weights.pt, the card and the class names that a file of ours holds."""
    try:
        from safetensors import safe_open
    except ImportError:
        raise UserError(
            f"{path} is read with safetensors, which is not installed: pip install safetensors"
        ) from None
    content: OrderedDict[str, Any] = OrderedDict()
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            content[name] = file.get_tensor(name)
        text = (file.metadata() or {}).get(CARD_KEY)
    if text is not None:
        try:
            names = ModelCard.from_text(text).classes
        except ValueError as error:
            raise UserError(
                f"{path}: its card can't be read ({error}): update this program, or save the weights anew without "
                "their metadata, by safetensors.torch's load_file and save_file"
            ) from None
        setattr(content, CARD_KEY, text)
        content.class_names = names  # type: ignore[attr-defined]
    return content


def _is_safetensors(path: Path) -> bool:
    """Whether it is a file of that library, whatever its name: the length of a JSON object, and the object."""
    with path.open("rb") as file:
        length, first = int.from_bytes(file.read(8), "little"), file.read(1)
    return first == b"{" and length < path.stat().st_size


def _check_bytes(path: Path) -> None:
    """Raises UserError for damage that torch.load does not notice, such as changed bytes, or only warns of."""
    if path.stat().st_size == 0:
        raise UserError(f"{path} is not a whole checkpoint: it is empty")
    with path.open("rb") as file:
        head = file.read(64).lstrip()
    if head.startswith(b"version https://git-lfs"):
        raise UserError(f"{path} is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`")
    if head[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise UserError(f"{path} is a web page, not a checkpoint: download the file itself")
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
