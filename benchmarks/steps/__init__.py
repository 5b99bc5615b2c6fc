"""Who trains: one file for each training step, all with the same signature, opened by name in a process of its own.

This file imports nothing heavy, as benchmarks/peers/__init__.py.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.errors import UserError
from engine.registry import nearest

# Not a network's size but ImageNet's: the classifier's share of a step is the same on any data.
CLASSES = 1000
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class StepTask:
    """What a side trains; resolution and batch come with each case, within the same process."""

    arch: str
    blurpool: bool
    precision: str
    """fp32, bf16 or fp16 for all sides, or auto: what each side usually takes."""
    compile: bool
    """Whether ours is compiled; peers never are."""
    device: str
    """cpu or cuda."""
    cores: int

    def __str__(self) -> str:
        switches = [name for name, on in (("BlurPool", self.blurpool), ("compiled", self.compile)) if on]
        return ", ".join([self.arch, *switches])


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a side began."""

    losses: list[float]
    """Of the first steps."""
    compile_seconds: float


@dataclass(frozen=True, kw_only=True)
class LoopTask:
    """What the training loop and the bare step do in each round."""

    step: StepTask
    resolution: int
    batch: int
    steps: int
    """Of an epoch, and as many bare ones: a round."""
    folder: Path
    """Where the run's own folder goes."""

    @property
    def cores(self) -> int:
        """Cores that the process is pinned to."""
        return self.step.cores

    @property
    def device(self) -> str:
        """cpu or cuda."""
        return self.step.device


@dataclass(frozen=True, kw_only=True)
class LoopRound:
    """One epoch of the trainer and as many bare steps."""

    loop: float
    """Images per second."""
    bare: float
    """Likewise."""
    other_cores: float
    """Cores that the machine kept busy with something else meanwhile, on average."""


@dataclass(frozen=True, kw_only=True)
class StepContender:
    """One side of a comparison."""

    module: str
    """Has `open_step(task: StepTask) -> benchmarks.steps.training.Trained`."""
    what: str
    """What it is, in a few words."""
    blurs: bool = True
    """Whether it has BlurPool."""
    blurs_as_ours: bool = True
    """Whether that is the same network as ours."""

    def load(self) -> ModuleType:
        """Import the contender, which may take seconds."""
        return importlib.import_module(self.module)

    def open_side(self, task: StepTask) -> Any:
        """The contender, ready to train (benchmarks.steps.training.Training)."""
        side = self.load().open_step(task)
        # Behind the contender's own import: ours sets an environment variable that torch reads.
        return importlib.import_module("benchmarks.steps.training").Training(side, task)


class LoopContender:
    """The loop and the bare step, both in one process: 2% is less than what two processes may differ by."""

    def load(self) -> ModuleType:
        """Import them, which takes seconds."""
        return importlib.import_module("benchmarks.steps.loop")

    def open_side(self, task: LoopTask) -> Any:
        """Both, ready to take turns (benchmarks.steps.loop.Loop)."""
        return self.load().Loop(task)


OURS = "ours"

STEPS = {
    OURS: StepContender(module="benchmarks.steps.ours", what="engine.train.step.Step"),
    "ffcv-imagenet": StepContender(
        module="benchmarks.steps.ffcv_imagenet", what="the plain eager AMP step of ffcv-imagenet"
    ),
    "torchvision": StepContender(
        module="benchmarks.steps.torchvision_reference",
        what="the AMP step of torchvision's reference scripts; has no BlurPool",
        blurs=False,
    ),
    "timm": StepContender(
        module="benchmarks.steps.timm_train",
        what="timm's network and its train.py's step",
        blurs_as_ours=False,
    ),
}
PEERS = [name for name in STEPS if name != OURS]


def check_peers(names: Sequence[str]) -> list[str]:
    """The peers by these names, each once. Raises UserError naming the choices for one that there is none of."""
    for name in names:
        if name not in PEERS:
            raise UserError(f"no peer {name!r}{nearest(name, PEERS)}; choices: {', '.join(PEERS)}")
    return list(dict.fromkeys(names))
