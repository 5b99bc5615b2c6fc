"""Who trains from the file to the weights: ours, the same with batches that lie ready, and others' loader and step.

This file imports nothing heavy, as benchmarks/peers/__init__.py.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.exports import SOURCE
from benchmarks.peers.base import Task
from benchmarks.steps import StepTask


@dataclass(frozen=True, kw_only=True)
class TrainTask:
    """What a side trains on in each epoch, which is a round."""

    step: StepTask
    images: Task
    """Of the file; its batch and resolution are the step's."""
    steps: int
    """Of an epoch: all images but those that fill no batch."""
    folder: Path
    """Where a run's own folder goes."""

    @property
    def cores(self) -> int:
        """Cores that the process is pinned to."""
        return self.step.cores

    @property
    def device(self) -> str:
        """cpu or cuda."""
        return self.step.device


@dataclass(frozen=True, kw_only=True)
class TrainContender:
    """One side of a comparison."""

    storage: str
    """How the images lie in the file that it reads (benchmarks.images)."""
    which: str
    """Whose loader and step: a word of its module's."""
    what: str
    """What it is, in a few words."""
    module: str = "benchmarks.trains.stock"
    """Has `open_train(task: TrainTask, which: str)`: an object with `settings`, and `epoch()` in seconds."""

    def load(self) -> Any:
        """Import the contender, which may take seconds."""
        return importlib.import_module(self.module)

    def open_side(self, task: TrainTask) -> Any:
        """The contender, ready to train."""
        return self.load().open_train(task, self.which)


_TRAINER = "benchmarks.trains.trainer"

OURS = {
    name: TrainContender(storage=name, which="file", what="the trainer", module=_TRAINER)
    for name in (SOURCE, "jpeg", "yuv420", "raw")
}
REPLAY = "replay"
PEERS = {
    "ffcv-imagenet": TrainContender(
        storage="jpeg",
        which="ffcv-imagenet",
        what="stock ffcv's loader and the plain eager AMP step of ffcv-imagenet",
    ),
    "torchvision": TrainContender(
        storage="files",
        which="torchvision",
        what="torchvision.io's loader and the step of its reference scripts",
    ),
}


def peer_of(ours: str, peer: str) -> TrainContender:
    """The contender that `peer` names; a replay is of our own storage."""
    if peer == REPLAY:
        return TrainContender(
            storage=OURS[ours].storage,
            which="replay",
            what="the trainer with batches that lie ready",
            module=_TRAINER,
        )
    return PEERS[peer]
