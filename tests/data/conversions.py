"""Whole conversions in the test's own process, and what they leave."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.config.write import OutputConfig, RulesConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import Beton, open_beton
from engine.data.convert.conversion import convert
from engine.data.sources import Split
from engine.data.storage import RAW

PARTS = [f"{split}.beton.partial{end}" for split in ("train", "val") for end in ("", ".journal")]


def convert_here(
    source: Path | str, folder: Path, rules: dict[str, str] | None = None, **output: Any
) -> dict[Split, Path]:
    """Convert in this process unless workers are asked for; where both files are."""
    options: dict[str, Any] = {"num_workers": 1} | output
    return convert(
        WriteConfig(
            source=SourceConfig(path=str(source)),
            rules=RulesConfig(**(rules or {})),  # type: ignore[arg-type]
            output=OutputConfig(folder=str(folder), **options),
        )
    )


def converted(
    source: Path | str, folder: Path, rules: dict[str, str] | None = None, **output: Any
) -> dict[Split, bytes]:
    """Convert as `convert_here`, in the source's order; the content of both files."""
    options: dict[str, Any] = {"order": "source"} | output
    return {
        split: path.read_bytes() for split, path in convert_here(source, folder, rules, **options).items()
    }


def names(folder: Path) -> list[str]:
    """What lies in the folder; nothing where it is missing."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def convert_and_open(
    source: Path, folder: Path, rules: dict[str, str] | None = None, **output: Any
) -> tuple[Beton, Beton]:
    """The train and val files, opened."""
    paths = convert_here(source, folder, rules, **output)
    return open_beton(paths["train"]), open_beton(paths["val"])


def stored_pixels(beton: Beton, index: int) -> NDArray[np.uint8]:
    """The stored image, RGB."""
    image, size = beton.images[index], int(beton.sizes[index])
    start = int(image["data_ptr"])
    record = np.array(beton.memory()[start : start + size])
    if image["mode"] == RAW.mode:
        return record.reshape(image["height"], image["width"], 3)
    bgr = cv2.imdecode(record, cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.ascontiguousarray(bgr[:, :, ::-1]).astype(np.uint8)
