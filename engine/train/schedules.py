"""Learning rate by (fractional) epoch: pure functions of the recipe."""

import math
from collections.abc import Callable

import numpy as np

from engine.config.schema import LrConfig
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
    """Linear up to the peak, then linear down to lr_final (ffcv-imagenet, there to 0)."""
    corners = [0, lr.peak_epoch(epochs), epochs]
    return float(np.interp(epoch, corners, [_CYCLIC_START * lr.lr, lr.lr, lr.lr_final]))


@SCHEDULES.register("step")
def step(lr: LrConfig, epoch: float, epochs: int) -> float:
    """Multiplied by step_ratio every step_length epochs (He et al. 2015)."""
    return lr.lr * lr.step_ratio ** math.floor(epoch / lr.step_length)


@SCHEDULES.register("constant")
def constant(lr: LrConfig, epoch: float, epochs: int) -> float:
    """The same throughout."""
    return lr.lr


@SCHEDULES.register("cosine")
def cosine(lr: LrConfig, epoch: float, epochs: int) -> float:
    """Linear warm-up to the peak, then half a cosine down to lr_final (Loshchilov and Hutter 2016)."""
    peak = lr.peak_epoch(epochs)
    if epoch < peak:
        return _warm_up(lr, epoch / peak)
    return _half_cosine(lr.lr, lr.lr_final, (epoch - peak) / (epochs - peak))


@SCHEDULES.register("polynomial")
def polynomial(lr: LrConfig, epoch: float, epochs: int) -> float:
    """Linear warm-up to the peak, then down to lr_final with the remaining share to a power.

    The curve of torch.optim.lr_scheduler.PolynomialLR; power 2 is that of LARS (You et al. 2017) and MLPerf.
    """
    peak = lr.peak_epoch(epochs)
    if epoch < peak:
        return _warm_up(lr, epoch / peak)
    left = max(0.0, (epochs - epoch) / (epochs - peak))
    return lr.lr_final + (lr.lr - lr.lr_final) * left**lr.power


@SCHEDULES.register("flat-cosine")
def flat_cosine(lr: LrConfig, epoch: float, epochs: int) -> float:
    """Linear warm-up, flat until the share flat_until of the run, then half a cosine (fastai's fit_flat_cos)."""
    peak, end_of_flat = lr.peak_epoch(epochs), lr.flat_until * epochs
    if epoch < peak:
        return _warm_up(lr, epoch / peak)
    if epoch < end_of_flat:
        return lr.lr
    return _half_cosine(lr.lr, lr.lr_final, (epoch - end_of_flat) / (epochs - end_of_flat))


@SCHEDULES.register("one-cycle")
def one_cycle(lr: LrConfig, epoch: float, epochs: int) -> float:
    """Half a cosine up from lr / div_factor, half a cosine down to that / final_div_factor.

    The curve of torch.optim.lr_scheduler.OneCycleLR, after Smith and Topin 2017.
    """
    start, peak = lr.lr / lr.div_factor, lr.peak_epoch(epochs)
    if epoch < peak:
        return _half_cosine(start, lr.lr, epoch / peak)
    share = (epoch - peak) / (epochs - peak)
    return _half_cosine(lr.lr, start / lr.final_div_factor, share)


def _warm_up(lr: LrConfig, share: float) -> float:
    return lr.lr_start + (lr.lr - lr.lr_start) * share


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2
