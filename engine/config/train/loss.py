"""The options of section `loss`: what is minimised, and a teacher to learn from."""

from dataclasses import dataclass

from engine.config.options import option
from engine.config.train.choices import LOSSES, described, names
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What is minimised (training.label_smoothing goes with each), and a teacher to learn from."""

    name: str = option(
        "cross-entropy",
        described(LOSSES),
        choices=names(LOSSES),
    )
    bce_sum: bool = option(
        False,
        "bce: classes are added up (as Composer does) rather than averaged (as timm and its authors do)",
    )
    bce_threshold: float = option(
        -1.0,
        "bce: targets above this become 1 and all others 0, after smoothing and mixing (timm's "
        "bce-target-thresh); below 0: targets stay as they are",
        low=-1,
        high=1,
    )
    teacher: str = option("", "weights file of a network whose outputs are to be matched too; empty: none")
    teacher_arch: str = option("", "the teacher's network, a name as for model.arch")
    teacher_blurpool: bool = option(False, "the teacher was trained with training.use_blurpool")
    distill_alpha: float = option(
        0.5, "share of the loss that is distance from the teacher (Hinton et al. 2015)", above=0, high=1
    )
    distill_temperature: float = option(
        1.0, "teacher's and student's outputs are divided by this before they are compared", above=0, high=100
    )


def check_loss(loss: LossConfig) -> None:
    """Raise UserError for options of section `loss` that don't go together."""
    if bool(loss.teacher) != bool(loss.teacher_arch):
        missing = "loss.teacher_arch" if loss.teacher else "loss.teacher"
        raise UserError(
            f"a teacher needs loss.teacher (its weights) and loss.teacher_arch: {missing} is not set"
        )
    if "bce_sum" not in LOSSES[loss.name].takes and (loss.bce_sum or loss.bce_threshold >= 0):
        raise UserError(f"loss.bce_sum and loss.bce_threshold mean nothing to {loss.name}: set loss.name=bce")
