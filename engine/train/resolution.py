"""Training resolution by epoch, and the batch that belongs to it: pure functions of the recipe."""

from collections.abc import Callable

import numpy as np

from engine.config.schema import ResolutionConfig
from engine.registry import Registry

ResolutionSchedule = Callable[[ResolutionConfig, int, int], int]
RESOLUTIONS: Registry[ResolutionSchedule] = Registry("resolution.schedule")

# Shares such as 11/16 are not exact for every number of epochs; an epoch on the edge is still on it.
_EDGE = 1e-6


def resolution_at(resolution: ResolutionConfig, epoch: int, epochs: int) -> int:
    """Training resolution of an epoch (0-based) of `epochs`, in pixels."""
    return RESOLUTIONS[resolution.schedule](resolution, epoch, epochs)


@RESOLUTIONS.register("ramp")
def ramp(resolution: ResolutionConfig, epoch: int, epochs: int) -> int:
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
def progressive(resolution: ResolutionConfig, epoch: int, epochs: int) -> int:
    """Composer's progressive resizing; there the size may change with each batch, here with each epoch.

    initial_scale x max_res for the share delay_fraction of the run, then linear up to max_res, which the share
    finetune_fraction at the end has to itself.
    """
    start = resolution.delay_fraction * epochs
    end = (1 - resolution.finetune_fraction) * epochs
    grown = 1.0 if epoch >= end - _EDGE else max(0.0, epoch - start) / max(end - start, _EDGE)
    exact = resolution.max_res * (resolution.initial_scale + (1 - resolution.initial_scale) * grown)
    # Rounded to at least one multiple: small images would become none.
    multiples = max(1, round(exact / resolution.multiple_of))
    return min(multiples * resolution.multiple_of, resolution.max_res)


@RESOLUTIONS.register("stages")
def stages(resolution: ResolutionConfig, epoch: int, epochs: int) -> int:
    """Fixed resolutions for so many epochs each; `96x12, 128x6, 224x2, 288x1` is Alibaba's in DAWNBench."""
    sides = [side for side, length in resolution.stage_list() for _ in range(length)]
    return sides[min(epoch, len(sides) - 1)]


def batch_at(resolution: ResolutionConfig, side: int, default: int) -> int:
    """Global batch at `side` pixels: that of the smallest side listed in batch_sizes that is not below it.

    Where none is listed for it, `default`: training.batch_size.
    """
    return next((batch for limit, batch in resolution.batch_list() if side <= limit), default)
