"""Options counted in steps, epochs or pixels, held against the run: some can't mean anything in a run of its size."""

from itertools import pairwise

from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.models.head import train_mode
from engine.models.input_size import refuses_single_images
from engine.train.batching import BatchPlan

# Share of the initial weights in the average at the run's end: above the first it says little about the training.
_TOO_MUCH, _MUCH = 0.5, 0.02

# Images below which batch norm's statistics cost accuracy (arXiv:1803.08494, figure 1).
_FEW = 8


def refuse_scale(config: TrainConfig, steps: int) -> None:
    """Raises UserError where the average of the weights could say nothing at the end of a run of so many steps.

    Only for a run that begins with random weights: given weights are worth averaging. With budget.adapt the number of
    steps is not known yet.
    """
    training, left = config.training, _initial_share(config, steps)
    if left <= _TOO_MUCH or config.model.weights or config.budget.adapt or config.data.replay:
        return
    if training.ema_every > steps:
        raise UserError(
            f"training.ema_every {training.ema_every} is more than the {steps} steps of the run: the average of the "
            "weights, by which the run is judged, would stay at the initial ones: lower it, or set "
            "training.ema_half_life=0 and training.ema_every=1 for no average"
        )
    raise UserError(
        f"training.ema_half_life {training.ema_half_life:g} is too long for a run of {steps} steps: at its end "
        f"{left:.0%} of the average, by which the run is judged, would be the initial weights: use at most "
        f"{max(1, steps // 10)} (a tenth of the steps), or 0 for no average"
    )


def scale_warnings(config: TrainConfig, steps: int, sides: list[int]) -> list[str]:
    """A line for each option that has no effect, or an odd one, in a run of so many steps at these resolutions (px)."""
    training, lr, found = config.training, config.lr, []
    if (left := _initial_share(config, steps)) > _MUCH:
        found.append(
            f"training.ema_half_life {training.ema_half_life:g} is long for a run of {steps} steps: at its end "
            f"{left:.0%} of the average, by which the run is judged, are the weights that it starts with: a tenth of "
            "the steps is usual"
        )
    if training.sam_rho and training.sam_interval > steps:
        found.append(
            f"training.sam_interval {training.sam_interval} is more than the {steps} steps of the run: SAM is never "
            "applied: lower it"
        )
    if lr.lr_schedule_type == "step" and lr.step_length >= training.epochs:
        found.append(
            f"lr.step_length {lr.step_length:g} is not shorter than the run of {training.epochs} epochs: the learning "
            f"rate never drops: lower it, or use lr.lr_schedule_type=constant"
        )
    limits = [side for side, _ in config.resolution.batch_list()]
    unused = [
        upper for lower, upper in pairwise([0, *limits]) if not any(lower < side <= upper for side in sides)
    ]
    if unused:
        listed = ", ".join(f"{side} px" for side in unused)
        found.append(
            f"resolution.batch_sizes: the batch for {listed} is never used: this run trains at "
            f"{', '.join(f'{side} px' for side in sides)}"
        )
    return [f"warning: {text}" for text in found]


def refuse_single_images(model: nn.Module, side: int) -> None:
    """Raises UserError where the network can't be trained on one image of `side` pixels at a time."""
    train_mode(model)
    reason = refuses_single_images(model, side)
    if reason:
        raise UserError(
            f"a device gets one image of {side} px at a time, and the network can't be trained on that ({reason}): use "
            "training.device_batch_size=2 or more (0 = no limit), and a larger training.batch_size if that is all"
        )


def norm_warning(model: nn.Module, plan: BatchPlan) -> str:
    """A line where batch norm takes its statistics from very few images, though the global batch has more."""
    norms = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())
    if not norms or plan.device_batch >= _FEW or plan.accumulation == 1:
        return ""
    return (
        f"warning: {plan}: batch norm takes its statistics from {plan.device_batch} images; accuracy falls below about "
        f"{_FEW} (Wu and He 2018): raise training.device_batch_size"
    )


def _initial_share(config: TrainConfig, steps: int) -> float:
    """Share of the weights that a run starts with in their average after so many steps; 0 without an average."""
    training = config.training
    if not training.ema_half_life:
        return 0.0
    updated = steps // training.ema_every * training.ema_every
    return float(2.0 ** (-updated / training.ema_half_life))
