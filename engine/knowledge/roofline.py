"""Speeds of GPUs that nobody has measured: a training step's bytes and FLOPs over the GPU's published rates.

Each convolution takes the longer of its FLOPs' and its bytes' time, each of Triton's kernels its bytes' time (Williams
2009, "Roofline"). Of both rates a share is reached, the same on every GPU and for every network: fitted to the speeds
that are published (machines.yaml), least squares of logarithms. The step is traced (traced_steps.py), between its
resolutions the time is linear in the area.

The published figures are of other programs, not of ours, several with loading in them; MLPerf's fuse more than the
traced step does. How far off the predictions are is judged with all figures of a GPU left out of the fit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from engine.errors import UserError
from engine.knowledge.traced_steps import TracedStep, read_steps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Numpy is imported where it computes: `plan --help` reads this file too.
SIDES = (96, 128, 160, 192, 224, 256, 288)
"""Resolutions whose speeds are predicted; others are interpolated."""
_Z90 = 1.645


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Of a GPU, as published."""

    gb_per_second: float
    tflops: float
    """Dense, in bf16 or fp16."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A published speed: images per second of one GPU."""

    gpu: str
    network: str
    blurpool: str
    side: int
    speed: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A published figure and its prediction."""

    figure: Figure
    fitted: float
    """Images per second, the figure being part of the fit."""
    left_out: float
    """All figures of its GPU being left out of it."""

    @property
    def error(self) -> float:
        """Of the logarithm, left out."""
        return math.log(self.left_out / self.figure.speed)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The shares of the rates that are reached, and how far off the predictions are."""

    memory: float
    tensor: float
    checked: Sequence[Checked]

    @property
    def rms(self) -> float:
        """Root mean square of the logarithms' errors, each GPU left out: about a share."""
        return math.sqrt(sum(one.error**2 for one in self.checked) / len(self.checked))

    @property
    def rms_fitted(self) -> float:
        """The same with all figures in the fit."""
        logs = [math.log(one.fitted / one.figure.speed) for one in self.checked]
        return math.sqrt(sum(log**2 for log in logs) / len(logs))

    @property
    def half_width(self) -> float:
        """Half of the 90% interval of a predicted speed, as a share of it."""
        return _Z90 * self.rms


def seconds_per_image(
    step: TracedStep, rates: Rates, memory: "Array | float", tensor: "Array | float"
) -> "Array":
    """Time of a traced step on a GPU that reaches these shares of its rates (arrays of one shape, or numbers)."""
    import numpy as np

    bytes_rate = np.asarray(memory, dtype=float) * rates.gb_per_second * 1e9
    flops_rate = np.asarray(tensor, dtype=float) * rates.tflops * 1e12
    taken = sum(step.triton_mb) * 1e6 / bytes_rate
    for _, count, gflop, size in step.products:
        taken = taken + count * np.maximum(gflop * 1e9 / flops_rate, size * 1e6 / bytes_rate)
    return np.asarray(taken)


def speed_at(
    network: str, blurpool: str, side: int, rates: Rates, memory: "Array | float", tensor: "Array | float"
) -> "Array":
    """Images per second of one GPU. Raises UserError for a network that was not traced."""
    import numpy as np

    steps = [step for step in _steps() if (step.network, step.blurpool) == (network, blurpool)]
    if len(steps) < 2:
        raise UserError(
            f"no step of {network} with blurpool {blurpool} was traced: `python -m benchmarks trace --write`"
        )
    low, high = steps[0], steps[-1]
    first, last = (seconds_per_image(step, rates, memory, tensor) for step in (low, high))
    share = (side**2 - low.side**2) / (high.side**2 - low.side**2)
    return np.asarray(1 / (first + share * (last - first)))


def traced_networks() -> list[str]:
    """The networks whose step was traced with BlurPool, as our recipes have it."""
    return sorted({step.network for step in _steps() if step.blurpool == "convolution"})


def fit(figures: Sequence[Figure], rates: dict[str, Rates]) -> Fit:
    """The shares that fit the figures best, and each figure predicted with its GPU left out."""
    import numpy as np

    # 2.5% apart. Not above 1: data sheets give what can't be exceeded.
    shares = np.geomspace(0.1, 1.0, 93)
    memory, tensor = (grid.ravel() for grid in np.meshgrid(shares, shares))
    predicted = np.stack(
        [speed_at(one.network, one.blurpool, one.side, rates[one.gpu], memory, tensor) for one in figures]
    )
    squares = np.log(predicted / np.array([[one.speed] for one in figures])) ** 2
    kinds = np.array([_kind(one.gpu) for one in figures])
    best = int(squares.sum(0).argmin())
    checked = []
    for place, one in enumerate(figures):
        without = int(squares[kinds != kinds[place]].sum(0).argmin())
        checked.append(
            Checked(
                figure=one, fitted=float(predicted[place, best]), left_out=float(predicted[place, without])
            )
        )
    return Fit(memory=float(memory[best]), tensor=float(tensor[best]), checked=checked)


def _kind(gpu: str) -> str:
    """GPUs that differ in their memory alone are one: A100-40GB and A100-80GB are left out together."""
    return gpu.removesuffix("-40GB").removesuffix("-80GB")


@cache
def _steps() -> list[TracedStep]:
    """Without combo kernels, which move the same bytes, by resolution."""
    return sorted((step for step in read_steps() if not step.combo_kernels), key=lambda step: step.side)
