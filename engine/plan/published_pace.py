"""A machine's pace for a recipe by published figures (engine/knowledge/machines.yaml)."""

from engine.config.train.train_config import TrainConfig
from engine.knowledge.machines import Machine
from engine.plan.pace import Pace, SidePace

ERROR_ELSEWHERE = 0.05
"""Added to the interval where a recipe's resolution was not published but interpolated: the log-log line between
ffcv-imagenet's 160 px and NVIDIA's 224 px on an A100 misses ffcv-imagenet's 192 px by 12%, of which 5% are the two
programs' difference; half of the rest is allowed."""


def published_pace(
    config: TrainConfig, machine: Machine, network: str, sides: list[int], num_val: int
) -> Pace:
    """The pace of a recipe that trains `network` at `sides` pixels. Raises UserError for an unpublished network.

    The speeds include loading on their owners' hosts, so the step stands for all stages.
    """
    published = machine.speeds.get(network, {})
    validation, averaged = config.validation, 2 if config.training.ema_half_life else 1
    seconds = averaged * machine.validation_seconds(
        network, num_val, validation.resolution, tta=validation.lr_tta
    )
    plain = averaged * machine.validation_seconds(network, num_val, validation.plain_resolution, tta=False)
    return Pace(
        machine=machine.name,
        basis=f"published, not measured here: {machine.basis}",
        measured=False,
        gpus=machine.count,
        sides=tuple(SidePace(side=side, step=machine.speed(network, side)) for side in sorted(sides)),
        error=machine.error + (0.0 if set(sides) <= set(published) else ERROR_ELSEWHERE),
        setup_seconds=machine.start_seconds,
        validation_seconds=seconds,
        finish_seconds=plain,
    )
