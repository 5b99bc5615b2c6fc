"""Small data sets made on the spot, and write_dataset.py run as its users run it: as a process."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]

Tree = Mapping[str, Mapping[str, Mapping[str, NDArray[np.uint8] | bytes]]]


def photo(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth content with a little noise, RGB, uint8 of shape (height, width, 3)."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.int16)
    return np.clip(smooth + random.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)


def jpeg_bytes(pixels: NDArray[np.uint8], quality: int = 95) -> bytes:
    """RGB pixels as the bytes of a JPEG file."""
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert done
    return data.tobytes()


def write_tree(root: Path, tree: Tree) -> Path:
    """split -> class -> file name -> pixels (stored as JPEG) or bytes (stored as they are)."""
    for split, classes in tree.items():
        for name, files in classes.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for file, content in files.items():
                data = content if isinstance(content, bytes) else jpeg_bytes(content)
                (folder / file).write_bytes(data)
    return root


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[[Tree], Path]:
    """Make an image folder, see write_tree."""
    return lambda tree: write_tree(tmp_path / "source", tree)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """An image folder of two classes: 40 training images, 7 for validation, sizes from 1 x 1 to 90 x 120."""
    sizes = [(1, 1), (1, 9), (17, 1), (33, 47), (64, 64), (90, 120)]
    counts = {"train": {"cat": 25, "dog": 15}, "val": {"cat": 3, "dog": 4}}
    return write_tree(
        tmp_path / "pets",
        {
            split: {
                name: {f"{i:03d}.jpg": photo(*sizes[i % len(sizes)], seed=i) for i in range(count)}
                for name, count in classes.items()
            }
            for split, classes in counts.items()
        },
    )


class Run(Protocol):
    """See the fixture write_dataset."""

    def __call__(self, *arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]: ...


def command(*arguments: object) -> list[str]:
    """The command line of write_dataset.py with these options, each given without its dashes."""
    return [sys.executable, str(ROOT / "write_dataset.py"), *(f"--{argument}" for argument in arguments)]


@pytest.fixture
def write_dataset(tmp_path: Path) -> Run:
    """Run write_dataset.py with these options, from a folder that is not the repository's."""

    def run(*arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), cwd=tmp_path, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run
