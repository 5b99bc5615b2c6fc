"""Learning rate by (fractional) epoch and resolution by epoch: pure functions of the recipe."""

import math
from collections.abc import Callable

import numpy as np

from engine.config.schema import LrConfig, ResolutionConfig
from engine.registry import Registry

Schedule = Callable[[LrConfig, float, int], float]
SCHEDULES: Registry[Schedule] = Registry("lr.lr_schedule_type")

# ffcv-imagenet starts its ramp at this share of the peak.
_CYCLIC_START = 1e-4


def lr_at(lr: LrConfig, epoch: float, epochs: int) -> float:
    """The learning rate after `epoch` (fractional) of `epochs` epochs."""
    return SCHEDULES[lr.lr_schedule_type](lr, epoch, epochs)


@SCHEDULES.register("cyclic")
def cyclic(lr: LrConfig, epoch: float, epochs: int) -> float:
    """Linear up to the peak, then linear down to 0 (ffcv-imagenet)."""
    return float(np.interp(epoch, [0, lr.lr_peak_epoch, epochs], [_CYCLIC_START * lr.lr, lr.lr, 0]))


@SCHEDULES.register("step")
def step(lr: LrConfig, epoch: float, epochs: int) -> float:
    """Multiplied by step_ratio every step_length epochs (He et al. 2015)."""
    return lr.lr * lr.step_ratio ** math.floor(epoch / lr.step_length)


@SCHEDULES.register("cosine")
def cosine(lr: LrConfig, epoch: float, epochs: int) -> float:
    """Linear warm-up from 0 to the peak, then half a cosine down to 0 (Loshchilov and Hutter 2016)."""
    if epoch < lr.lr_peak_epoch:
        return lr.lr * epoch / lr.lr_peak_epoch
    return _half_cosine(lr.lr, 0.0, (epoch - lr.lr_peak_epoch) / (epochs - lr.lr_peak_epoch))


@SCHEDULES.register("one-cycle")
def one_cycle(lr: LrConfig, epoch: float, epochs: int) -> float:
    """Half a cosine up from lr / div_factor, half a cosine down to that / final_div_factor.

    The curve of torch.optim.lr_scheduler.OneCycleLR, after Smith and Topin 2017.
    """
    start = lr.lr / lr.div_factor
    if epoch < lr.lr_peak_epoch:
        return _half_cosine(start, lr.lr, epoch / lr.lr_peak_epoch)
    share = (epoch - lr.lr_peak_epoch) / (epochs - lr.lr_peak_epoch)
    return _half_cosine(lr.lr, start / lr.final_div_factor, share)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2


def resolution_at(resolution: ResolutionConfig, epoch: int, epochs: int) -> int:
    """Training resolution of an epoch (0-based): ffcv-imagenet's ramp, its ends given as shares of the run."""
    start, end = resolution.start_ramp * epochs, resolution.end_ramp * epochs
    # Shares such as 11/16 are not exact for every number of epochs; an epoch on the edge is still on it.
    if epoch <= start + 1e-6:
        return resolution.min_res
    if epoch >= end - 1e-6:
        return resolution.max_res
    exact = np.interp(epoch, [start, end], [resolution.min_res, resolution.max_res])
    rounded = int(np.round(exact / resolution.multiple_of)) * resolution.multiple_of
    return min(max(rounded, resolution.min_res), resolution.max_res)
