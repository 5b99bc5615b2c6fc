"""A training step at work: the same first weights and images for all sides, on the device, and timed steps.

Images are noise and labels random: a step costs the same for any pixels.
"""

import time
from typing import Protocol

import torch
from torch import nn

from benchmarks.sides.steps.step_tasks import CLASSES, Start, StepTask
from engine.models.build import build_model
from engine.train.step.precision import Precision, choose_precision

SMOOTHING = 0.1
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
# Low enough for every network at every batch, on noise.
LEARNING_RATE = 0.01

# The sides are compared by these losses: before any update, and after one, two and three of them.
FIRST_STEPS = 4
_BATCHES = 4


class Trained(Protocol):
    """One way to train a network, ready on the device."""

    settings: str
    model: nn.Module
    """The network, for its weights."""
    optimizer: torch.optim.Optimizer
    dtype: torch.dtype
    """Of its input images."""
    layout: torch.memory_format

    def ready(self, count: int, side: int) -> float:
        """Prepare for batches of `count` images of `side` pixels; returns the seconds that compiling took."""
        ...

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Train on a batch; returns its loss on the device."""
        ...


class Training:
    """Steps of `side`, timed where they are made."""

    def __init__(self, side: Trained, task: StepTask) -> None:
        self.side, self.settings, self.batch = side, side.settings, 0
        self.device = torch.device(task.device)
        self._first = {name: value.clone() for name, value in side.model.state_dict().items()}
        self._batches: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._taken = 0

    def start(self, resolution: int, batch: int) -> Start:
        """Begin again with the first weights at that size, and take the first steps."""
        self.rest()
        self.batch, self._taken = batch, 0
        self._batches = [
            (images.to(self.device, self.side.dtype, memory_format=self.side.layout), labels.to(self.device))
            for images, labels in made_batches(_BATCHES, batch, resolution)
        ]
        self.side.model.load_state_dict(self._first)
        self.side.optimizer.state.clear()
        compiling = self.side.ready(batch, resolution)
        return Start(losses=[self.steps(1) for _ in range(FIRST_STEPS)], compile_seconds=compiling)

    def steps(self, count: int) -> float:
        """Take `count` steps and wait for the device; returns the last loss."""
        return float(self._take(count))

    def seconds(self, count: int) -> float:
        """Seconds of `count` steps, on a GPU by its events.

        Raises RuntimeError where the loss is not finite after them.
        """
        if self.device.type == "cuda":
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            before.record()
            loss = self._take(count)
            after.record()
            after.synchronize()
            took = before.elapsed_time(after) / 1000
        else:
            started = time.perf_counter()
            loss = self._take(count)
            took = time.perf_counter() - started
        if not loss.isfinite():
            raise RuntimeError(f"the loss became {loss.item():g}")
        return took

    def _take(self, count: int) -> torch.Tensor:
        for _ in range(count):
            loss = self.side.step(*self._batches[self._taken % _BATCHES])
            self._taken += 1
        return loss

    def rest(self) -> None:
        """Release the batches and the allocator's cache."""
        self._batches = []
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()


def first_weights(arch: str) -> dict[str, torch.Tensor]:
    """The weights with which all sides begin, by torchvision's names."""
    torch.manual_seed(0)
    return build_model(arch, CLASSES, use_blurpool=False).state_dict()


def made_batches(count: int, batch: int, resolution: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The same noise and labels each time: float32 (batch, 3, resolution, resolution) and int64 (batch,)."""
    random = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(batch, 3, resolution, resolution, generator=random),
            torch.randint(0, CLASSES, (batch,), generator=random),
        )
        for _ in range(count)
    ]


def precision_of(task: StepTask, usual: str = "auto") -> Precision:
    """The arithmetic that the task asks for; auto is `usual` on a GPU, and ours on a CPU.

    Raises UserError for one that the device lacks.
    """
    device = torch.device(task.device)
    wanted = task.precision
    if wanted == "auto" and device.type == "cuda":
        wanted = usual
    return choose_precision(wanted, device)
