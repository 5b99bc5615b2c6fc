"""torchvision's own decoder and tensor transforms: torchvision.io.decode_jpeg, then the v2 transforms on uint8.

The v2 transforms' documentation recommends uint8 tensors for resizing, with antialiasing (the default), and
torchvision.io for decoding straight to them. Else as benchmarks.peers.image_folder.
"""

import torch
from torchvision.io import ImageReadMode, decode_jpeg, read_file

from benchmarks.peers.base import Task
from benchmarks.peers.image_folder import FolderSide
from benchmarks.peers.tensor_crops import WORDS, centre_crop, random_crop


def _read(path: str) -> torch.Tensor:
    image: torch.Tensor = decode_jpeg(read_file(path), mode=ImageReadMode.RGB)
    return image


def open_side(task: Task) -> FolderSide:
    """torchvision without Pillow on the task's files."""
    return FolderSide(
        task,
        read=_read,
        random_crop=lambda side: random_crop(task, side),
        centre_crop=centre_crop,
        how=WORDS,
    )
