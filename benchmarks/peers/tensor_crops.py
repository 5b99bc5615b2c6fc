"""JPEG data to a uint8 crop with torchvision.io and the v2 transforms: what the faster of torchvision's two ways does.

Shared by torchvision-io and by the peers that leave decoding to the user.
"""

from collections.abc import Callable

import torch
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

from benchmarks.peers.base import Task

WORDS = "torchvision.io.decode_jpeg, v2.RandomResizedCrop on uint8 tensors with antialiasing, v2.RandomHorizontalFlip"

Transform = Callable[[torch.Tensor], torch.Tensor]


class Decode:
    """JPEG data -> uint8 (3, side, side)."""

    def __init__(self, transform: Transform) -> None:
        self._transform = transform

    def __call__(self, data: bytes) -> torch.Tensor:
        # A copy: torch would warn of memory that can't be written to.
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return self._transform(decode_jpeg(encoded, mode=ImageReadMode.RGB))


def random_crop(task: Task, side: int) -> Transform:
    """Cropped by the task's law and flipped at random."""
    crop: Transform = v2.Compose(
        [v2.RandomResizedCrop(side, scale=task.scale, antialias=True), v2.RandomHorizontalFlip()]
    )
    return crop


def centre_crop(side: int) -> Transform:
    """The centred square of the whole short side."""
    crop: Transform = v2.Compose([v2.Resize(side, antialias=True), v2.CenterCrop(side)])
    return crop
