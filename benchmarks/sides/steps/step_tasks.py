"""What the sides of the stages step, overhead and train are asked for. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.sides.task import Task

CLASSES = 1000
"""ImageNet's, whatever the images: so the classifier's share of a step is always the same."""
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class StepTask:
    """What a side trains; resolution and batch come with each case, in the same process."""

    arch: str
    blurpool: bool
    precision: str
    """fp32, bf16 or fp16 for all sides, or auto: each side's own default."""
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
    """A side's first steps."""

    losses: list[float]
    """Of the first steps."""
    compile_seconds: float


@dataclass(frozen=True, kw_only=True)
class LoopTask:
    """What the training loop and the bare steps do in each round."""

    step: StepTask
    resolution: int
    batch: int
    steps: int
    """Of an epoch; with as many bare ones it is a round."""
    folder: Path
    """Where the run's folder is made."""

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
    """Cores that the machine kept busy with other work meanwhile, on average."""


@dataclass(frozen=True, kw_only=True)
class TrainTask:
    """What a side trains on in an epoch, which is a round."""

    step: StepTask
    images: Task
    """Of the file; its batch and resolution are the step's."""
    steps: int
    """Of an epoch: all full batches of the images."""
    folder: Path
    """Where the run's folder is made."""

    @property
    def cores(self) -> int:
        """Cores that the process is pinned to."""
        return self.step.cores

    @property
    def device(self) -> str:
        """cpu or cuda."""
        return self.step.device
