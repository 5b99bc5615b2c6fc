"""A small data set that a network can learn, as real JPEG files: each class has its own colour and stripes."""

from pathlib import Path

import numpy as np
from PIL import Image

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.convert.conversion import convert

CLASSES = ("amber", "blue", "coral", "denim", "ecru", "fawn")
TRAIN, VAL = 96, 37


def write_shapes(
    folder: Path, *, train: int = TRAIN, val: int = VAL, classes: tuple[str, ...] = CLASSES
) -> Path:
    """An image folder of `train` and `val` JPEGs, 40 to 72 pixels a side; the same ones every time."""
    for split, count in (("train", train), ("val", val)):
        random = np.random.default_rng([count, len(split)])
        for index in range(count):
            label = index % len(classes)
            path = folder / split / classes[label] / f"{index:04d}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_picture(label, random)).save(path, quality=92)
    return folder


def write_betons(folder: Path, **shapes: object) -> tuple[Path, Path]:
    """train.beton and val.beton of write_shapes' images in `folder`."""
    source = write_shapes(folder / "images", **shapes)  # type: ignore[arg-type]
    output = OutputConfig(folder=str(folder), format="proportion", num_workers=1)
    paths = convert(WriteConfig(source=SourceConfig(path=str(source)), output=output))
    return paths["train"], paths["val"]


def _picture(label: int, random: np.random.Generator) -> np.ndarray:
    height, width = random.integers(40, 73, 2)
    colour = np.array([(label * 97) % 256, (label * 53 + 80) % 256, (label * 29 + 160) % 256])
    stripes = 40 * np.sin(np.arange(width) * (label + 1) / 6 + random.uniform(0, 6))[None, :, None]
    noise = random.normal(0, 12, (height, width, 3))
    return np.clip(colour + stripes + noise, 0, 255).astype(np.uint8)
