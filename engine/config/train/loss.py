"""The options of section `loss`: the function that training minimises, and a teacher to learn from."""

from dataclasses import dataclass

from engine.config.choices import LOSSES, described, names
from engine.config.options import option
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Loss function and distillation; training.label_smoothing applies to every loss."""

    name: str = option(
        "cross-entropy",
        f"loss function. {described(LOSSES)}",
        choices=names(LOSSES),
    )
    bce_sum: bool = option(
        False, "bce: sum over the classes (Composer) instead of averaging (timm and the paper)"
    )
    bce_threshold: float = option(
        -1.0,
        "bce: after smoothing and mixing, set targets above this to 1 and all others to 0 (timm's bce-target-thresh); "
        "below 0 = keep the targets as they are",
        low=-1,
        high=1,
    )
    class_weights: str = option(
        "none",
        "weight of each class in the loss, by how often it is trained on (data.balance), with mean 1 over an epoch. "
        "inverse: one divided by that. effective: by the effective number of images (Cui et al. 2019). The share that "
        "label smoothing spreads is not weighted",
        choices=("none", "inverse", "effective"),
    )
    effective_beta: float = option(
        0.999,
        "class_weights=effective: the paper's beta; images beyond about 1/(1 - beta) in a class count little more",
        low=0.5,
        high=0.999999,
    )
    teacher: str = option(
        "",
        "distillation: the teacher: a run's folder, a weights file, or timm:NAME for weights that timm publishes "
        "(downloaded, of ImageNet's 1,000 classes); it sees the student's images: the same crops, augmentations and "
        "MixUp; empty = no distillation",
    )
    teacher_arch: str = option(
        "",
        "distillation: the teacher's network, a name as for model.arch; empty = as its run or its file says",
    )
    teacher_blurpool: bool = option(
        False,
        "distillation: set it if the teacher was trained with training.use_blurpool, and neither its file nor its run "
        "says so",
    )
    distill_alpha: float = option(
        0.5,
        "distillation: weight of the distance from the teacher in the loss (Hinton et al. 2015); the rest is the "
        "ordinary loss; 1 = the teacher alone, as in function matching (Beyer et al. 2022)",
        above=0,
        high=1,
    )
    distill_temperature: float = option(
        1.0,
        "distillation: divide the outputs of teacher and student by this before comparing",
        above=0,
        high=100,
    )


def check_loss(loss: LossConfig) -> None:
    """Raises UserError for options of section `loss` that don't go together."""
    if loss.teacher_arch and not loss.teacher:
        raise UserError(
            "loss.teacher_arch has no effect without loss.teacher, the teacher's weights: set both"
        )
    if loss.teacher_arch and loss.teacher.startswith("timm:"):
        raise UserError(
            f"loss.teacher={loss.teacher} names its network itself: drop loss.teacher_arch, or give a weights file"
        )
    if "bce_sum" not in LOSSES[loss.name].takes and (loss.bce_sum or loss.bce_threshold >= 0):
        raise UserError(
            f"loss.bce_sum and loss.bce_threshold have no effect with loss.name={loss.name}: set loss.name=bce"
        )
