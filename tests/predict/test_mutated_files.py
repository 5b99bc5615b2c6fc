"""Damaged images and weights, hundreds of them: a line for each, no crash, no traceback."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.cli.predict import main
from engine.errors import EXIT_DONE, EXIT_MISSED, UserError
from engine.predict.file_card import Given
from engine.predict.trained import load_trained
from tests.predict.conftest import SIDE

Picture = Callable[..., Path]


def _mutated(content: bytes, draw: np.random.Generator) -> bytes:
    """Cut, with bytes changed, with a stretch removed, repeated or of zeros."""
    changed, kind = bytearray(content), int(draw.integers(0, 5))
    start, end = sorted(int(place) for place in draw.integers(0, len(content), 2))
    if kind == 0:
        return content[:end]
    if kind == 1:
        for place in draw.integers(0, len(content), int(draw.integers(1, 20))):
            changed[place] = int(draw.integers(0, 256))
        return bytes(changed)
    if kind == 2:
        return content[:start] + content[end:]
    if kind == 3:
        return content[:end] + content[start:]
    # Headers are where most can go wrong.
    place = int(draw.integers(0, min(600, len(content))))
    changed[place : place + 8] = bytes(8)
    return bytes(changed)


@pytest.mark.slow
def test_mutated_images_are_a_line_each(
    run: Path, picture: Picture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(18)
    whole = [
        picture("a.jpg", 90, 70).read_bytes(),
        picture("p.jpg", 90, 70, progressive=True).read_bytes(),
        picture("c.jpg", 90, 70, mode="CMYK").read_bytes(),
        *(picture(f"a.{end}", 90, 70).read_bytes() for end in ("png", "webp", "tif", "bmp")),
        picture("a.gif", 90, 70, mode="P").read_bytes(),
    ]
    for number in range(300):
        (tmp_path / f"{number:03d}.jpg").write_bytes(_mutated(whole[number % len(whole)], draw))
    assert main([str(run), str(tmp_path), "--device", "cpu"]) == EXIT_MISSED
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert [line.split(":")[0] for line in lines] == [str(tmp_path / f"{n:03d}.jpg") for n in range(300)]
    failed = [line for line in lines if ": error: " in line]
    assert 100 < len(failed) < 300 and "Traceback" not in said.err
    assert all(len(line.partition(": error: ")[2]) > 5 for line in failed)
    # What is left in the workspaces of the decoders does no harm to whole images.
    (tmp_path / "whole").mkdir()
    for number, content in enumerate(whole):
        (tmp_path / "whole" / f"{number}.png").write_bytes(content)
    assert main([str(run), str(tmp_path / "whole"), "--device", "cpu"]) == EXIT_DONE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weights.pt", "model.safetensors"])
def test_mutated_weights_are_one_line(name: str, run: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(18)
    content, refused = (run / name).read_bytes(), 0
    for number in range(50):
        # Half of them in the header, where most can go wrong.
        head = number % 2 and name.endswith(".safetensors")
        mutated = _mutated(content[:4000], draw) + content[4000:] if head else _mutated(content, draw)
        (tmp_path / name).write_bytes(mutated)
        try:
            trained = load_trained(tmp_path / name, device="cpu", given=Given(arch="small_resnet"))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and str(tmp_path / name) in str(error)
        else:
            with torch.inference_mode():
                assert trained.model(torch.zeros(1, 3, SIDE, SIDE)).shape == (1, 3)
    assert refused > 25
