"""Training resolution and global batch by epoch, learning rate by (fractional) epoch: pure functions of the recipe.

A new schedule is a registered function here and an entry of its table in engine/config/choices.py.
"""

import math
from collections.abc import Callable

import numpy as np

from engine.config.train.train_config import LrConfig, ResolutionConfig
from engine.registry import Registry

ResolutionSchedule = Callable[[ResolutionConfig, float, int], int]
RESOLUTIONS: Registry[ResolutionSchedule] = Registry("resolution.schedule")

# Shares such as 11/16 are not exact for every number of epochs; an epoch within this of an edge is on it.
_EDGE = 1e-6

# Places of an epoch at which two schedules are compared.
_PARTS = 64


def resolution_at(resolution: ResolutionConfig, epoch: float, epochs: int) -> int:
    """Training resolution after `epoch` (0-based; fractional in a run of another length) of `epochs`, in pixels."""
    return RESOLUTIONS[resolution.schedule](resolution, epoch, epochs)


@RESOLUTIONS.register("ramp")
def ramp(resolution: ResolutionConfig, epoch: float, epochs: int) -> int:
    """ffcv-imagenet's ramp from min_res to max_res, its ends given as shares of the run."""
    start, end = resolution.start_ramp * epochs, resolution.end_ramp * epochs
    if epoch <= start + _EDGE:
        return resolution.min_res
    if epoch >= end - _EDGE:
        return resolution.max_res
    exact = np.interp(epoch, [start, end], [resolution.min_res, resolution.max_res])
    rounded = int(np.round(exact / resolution.multiple_of)) * resolution.multiple_of
    return min(max(rounded, resolution.min_res), resolution.max_res)


@RESOLUTIONS.register("progressive")
def progressive(resolution: ResolutionConfig, epoch: float, epochs: int) -> int:
    """Composer's progressive resizing; there the size may change with each batch, here with each epoch.

    initial_scale x max_res for the first delay_fraction of the run, then linear up to max_res, which is used for the
    last finetune_fraction.
    """
    start = resolution.delay_fraction * epochs
    end = (1 - resolution.finetune_fraction) * epochs
    grown = 1.0 if epoch >= end - _EDGE else max(0.0, epoch - start) / max(end - start, _EDGE)
    exact = resolution.max_res * (resolution.initial_scale + (1 - resolution.initial_scale) * grown)
    # At least one multiple, or the resolution of small images would be 0.
    multiples = max(1, round(exact / resolution.multiple_of))
    return min(multiples * resolution.multiple_of, resolution.max_res)


@RESOLUTIONS.register("stages")
def stages(resolution: ResolutionConfig, epoch: float, epochs: int) -> int:
    """A list of resolution x epochs; `96x12, 128x6, 224x2, 288x1` is Alibaba's entry to DAWNBench."""
    sides = [side for side, length in resolution.stage_list() for _ in range(length)]
    return sides[min(math.floor(epoch + _EDGE), len(sides) - 1)]


def batch_at(resolution: ResolutionConfig, side: int, default: int) -> int:
    """Global batch (images) at `side` pixels: that of the smallest side in batch_sizes that is at least `side`.

    Above all listed sides it is `default`, training.batch_size.
    """
    return next((batch for limit, batch in resolution.batch_list() if side <= limit), default)


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
    """lr.lr in all epochs."""
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

    The curve of torch.optim.lr_scheduler.OneCycleLR, after Smith and Topin 2017. A step has the rate of its beginning,
    as with all schedules here; torch gives the last step that of the end. With n steps after the peak the last one has
    lr x (pi / 2n)^2: 0.0126 of the peak for n = 14, 2.5e-6 for 1,000.
    """
    start, peak = lr.lr / lr.div_factor, lr.peak_epoch(epochs)
    if epoch < peak:
        return _half_cosine(start, lr.lr, epoch / peak)
    share = (epoch - peak) / (epochs - peak)
    return _half_cosine(lr.lr, start / lr.final_div_factor, share)


def same_so_far(lr: LrConfig, resolution: ResolutionConfig, lengths: tuple[int, int], begun: int) -> bool:
    """Whether runs of two lengths (epochs) have the same learning rates and resolutions in their first `begun` epochs.

    True of the schedules constant and step, and of the others until their warm-up ends.
    """
    one, other = lengths
    places = [part / _PARTS for part in range(begun * _PARTS)]
    return all(
        lr_at(lr, at, one) == lr_at(lr, at, other)
        and resolution_at(resolution, at, one) == resolution_at(resolution, at, other)
        for at in places
    )


def _warm_up(lr: LrConfig, share: float) -> float:
    return lr.lr_start + (lr.lr - lr.lr_start) * share


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2
