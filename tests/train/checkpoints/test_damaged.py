"""Files of weights that are empty, damaged or something else: one line each, whatever torch makes of their content."""

import io
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import UserError
from engine.train.checkpoints import checkpoint_file

SMALL = {"model": {"fc.weight": torch.ones(4, 3), "fc.bias": torch.zeros(4)}, "epoch": 1, "best": 0.5}


def _saved(content: Any, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def _damaged(content: bytes, seed: int) -> bytes:
    """Up to three bytes of it are others; of every third file the end is missing."""
    random_ = random.Random(seed)
    changed = bytearray(content[: random_.randrange(len(content)) if seed % 3 == 0 else None])
    for _ in range(random_.randrange(1, 4) if changed else 0):
        changed[random_.randrange(len(changed))] = random_.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_damaged_file_loads_or_is_one_error_line(zipped: bool, tmp_path: Path) -> None:
    path, whole = tmp_path / "file.pt", _saved(SMALL, zipped=zipped)
    refused = 0
    for seed in range(150):
        path.write_bytes(_damaged(whole, seed))
        try:
            checkpoint_file.load(path)
        except UserError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 75


def test_changed_byte_of_a_stored_tensor_is_refused(tmp_path: Path) -> None:
    content = bytearray(_saved({"weight": torch.full((64,), 1.5)}))
    content[content.index(torch.full((64,), 1.5).numpy().tobytes()) + 101] ^= 1
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"not a whole checkpoint: the checksum of .*data/0 in it is wrong"):
        checkpoint_file.load(tmp_path / "file.pt")


def test_file_without_checksums_loads(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(SMALL, tmp_path / "file.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert checkpoint_file.load(tmp_path / "file.pt")["epoch"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "it is empty"), (b"hello", "torch.save did not write it, its bytes were changed, or")],
)
def test_empty_file_and_text_are_refused_with_their_reason(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(UserError, match=f"file.pt is not a whole checkpoint: {message}"):
        checkpoint_file.load(tmp_path / "file.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
def test_torchscript_program_is_one_error_line(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "file.pt")
    with warnings.catch_warnings(), pytest.raises(UserError, match=r"TorchScript program.*state_dict"):
        warnings.simplefilter("error")
        checkpoint_file.load(tmp_path / "file.pt")
