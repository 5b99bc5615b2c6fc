"""The data set and the network of the run in old_run/, which the code of revision bbd04d5 began (see its README.md)."""

from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from engine.models.small import SmallResNet

CLASSES, SIDE = 4, 24
TRAIN, VAL = 64, 16

NETWORK = "tiny_of_the_old_run"


def tiny_network(num_classes: int) -> nn.Module:
    """A SmallResNet of 4 and 8 channels, whose checkpoints are some kB; (n, 3, h, w) -> (n, num_classes)."""
    return SmallResNet(num_classes, widths=(4, 8))


def write_images(folder: Path) -> Path:
    """An image folder of PNGs of 24 x 24, made by whole-number arithmetic alone: the same pixels on every machine."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    for split, count in (("train", TRAIN), ("val", VAL)):
        for index in range(count):
            label = index % CLASSES
            wave = (rows * (label + 1) * 7 + columns * (3 - label) * 5 + index * 31) % 64
            noise = (rows * 37 + columns * 101 + rows * columns * (index + 3)) % 48
            colour = np.array([60 * label, 200 - 50 * label, (90 + 80 * label) % 144])
            pixels = np.stack([wave + noise + channel for channel in colour], axis=-1) % 256
            path = folder / split / f"class{label}" / f"{index:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder
