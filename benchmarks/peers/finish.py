"""From a uint8 batch in host memory to the task's form, as the peers that end there are given it.

A whole batch at a time, which is cheaper than image by image in the workers, and on the GPU where there is one.
"""

import torch

from benchmarks.peers.base import Task
from engine.data.loader import MEAN, STD


def one_thread() -> None:
    """For a process beside which others decode: a second thread of torch's would only spin on a core of theirs."""
    torch.set_num_threads(1)


class Finish:
    """Normalised by our loader's arithmetic, in channels_last order; for "host" nothing is left to be done."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._mean = torch.tensor(MEAN, device=task.device).view(1, 3, 1, 1)
        self._inverse_std = (1 / torch.tensor(STD, device=task.device)).view(1, 3, 1, 1)

    @property
    def words(self) -> str:
        """What it does, for a side's settings."""
        where = "on the GPU" if self._task.device == "cuda" else "in the main process"
        return "uint8 as they are" if self._task.form == "host" else f"normalised as a batch {where}"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """`images`: uint8 of shape (n, 3, side, side) in any memory order."""
        if self._task.form == "host":
            return images
        on_device = images.to(self._task.device, non_blocking=True)
        floats = on_device.to(torch.float32, memory_format=torch.channels_last)
        return floats.sub_(self._mean).mul_(self._inverse_std).to(getattr(torch, self._task.dtype))
