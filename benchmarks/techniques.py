"""Every technique of the engine: the options that turn it on, what it is compared with, and which recipes have it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.config.train.choices import LR_SCHEDULES, OPTIMIZERS
from engine.config.train.train_config import TrainConfig

Uses = Callable[[TrainConfig], bool]

PLAIN: dict[str, Any] = {"training.label_smoothing": 0}
"""What a plain step has beside the defaults: SGD on cross-entropy, channels_last, nothing else."""

WEIGHTS = "FILE"
"""Stands for a file of weights, which the benchmark makes."""

ON_THE_HOST = "none in the step: decided on the host"
PIXELS = "none by itself: a step's time follows the pixels"
VALIDATION = "none in the step: validation alone"
START = "none in the step: at the start of the run"


@dataclass(frozen=True, kw_only=True)
class Technique:
    """One of them. Its step's time is measured with `options` against `without`, or `cost` says why not."""

    name: str
    section: str
    """Of docs/techniques.md, whose table it stands in."""
    options: Mapping[str, Any]
    uses: Uses
    without: Mapping[str, Any] = field(default_factory=dict)
    cost: str = ""


def _value(config: TrainConfig, option: str) -> Any:
    section, _, key = option.partition(".")
    return getattr(getattr(config, section), key)


def _is(option: str, wanted: Any) -> Uses:
    return lambda config: bool(_value(config, option) == wanted)


def _above(option: str, floor: float = 0) -> Uses:
    return lambda config: bool(_value(config, option) > floor)


def _both(*uses: Uses) -> Uses:
    return lambda config: all(use(config) for use in uses)


def _choice(section: str, option: str, wanted: str, cost: str = "", **more: Any) -> Technique:
    """A technique that is one of an option's choices, and named like it."""
    options = {option: wanted, **{key.replace("__", "."): value for key, value in more.items()}}
    return Technique(name=wanted, section=section, options=options, uses=_is(option, wanted), cost=cost)


_LR, _SCHEDULES = "learning-rate", "lr.lr_schedule_type"
_OPTIMIZER, _POLICY = "training.optimizer", "augmentation.policy"


def _rises(config: TrainConfig) -> bool:
    return (
        "lr_peak_epoch" in LR_SCHEDULES[config.lr.lr_schedule_type].takes
        and config.lr.peak_epoch(config.training.epochs) > 0
    )


def _ramps(config: TrainConfig) -> bool:
    return config.resolution.schedule == "ramp" and config.resolution.min_res < config.resolution.max_res


TECHNIQUES: tuple[Technique, ...] = (
    *(
        _choice(_LR, _SCHEDULES, name, ON_THE_HOST)
        for name in LR_SCHEDULES
    ),
    Technique(name="warm-up", section=_LR, options={"lr.lr_peak_epoch": 5}, uses=_rises, cost=ON_THE_HOST),
    Technique(
        name="linear scaling",
        section=_LR,
        options={"lr.batch_scaling": "linear"},
        uses=_is("lr.batch_scaling", "linear"),
        cost=ON_THE_HOST,
    ),
    Technique(
        name="ramp",
        section="resolution",
        options={"resolution.schedule": "ramp", "resolution.min_res": 160, "resolution.max_res": 192},
        uses=_ramps,
        cost=PIXELS,
    ),
    _choice("resolution", "resolution.schedule", "progressive", PIXELS),
    _choice("resolution", "resolution.schedule", "stages", PIXELS, resolution__stages="96x12,128x6"),
    Technique(
        name="batch by resolution",
        section="resolution",
        options={"resolution.batch_sizes": "128:4096"},
        uses=lambda config: bool(config.resolution.batch_sizes),
        cost=PIXELS,
    ),
    Technique(
        name="FixRes: search",
        section="resolution",
        options={"validation.search": "224,256,288", "data.holdout": 0.01},
        uses=lambda config: bool(config.validation.search),
        cost=VALIDATION,
    ),
    Technique(
        name="FixRes: head fine-tune",
        section="resolution",
        options={"model.train_only": "head"},
        uses=_is("model.train_only", "head"),
    ),
    Technique(
        name="flip TTA",
        section="resolution",
        options={"validation.lr_tta": True},
        uses=_is("validation.lr_tta", True),
        cost="none in the step: two passes in validation instead of one",
    ),
    Technique(
        name="sgd",
        section="optimizers",
        options={_OPTIMIZER: "sgd"},
        uses=_is(_OPTIMIZER, "sgd"),
        cost="the plain step",
    ),
    Technique(
        name="Nesterov",
        section="optimizers",
        options={"training.nesterov": True},
        uses=_is("training.nesterov", True),
    ),
    *(_choice("optimizers", _OPTIMIZER, name) for name in OPTIMIZERS if name != "sgd"),
    Technique(
        name="decay groups",
        section="optimizers",
        options={"training.weight_decay": 5e-5},
        uses=_above("training.weight_decay"),
        cost=START,
    ),
    Technique(
        name="clipping",
        section="optimizers",
        options={"training.clip_norm": 1.0},
        uses=_above("training.clip_norm"),
    ),
    Technique(
        name="SAM",
        section="optimizers",
        options={"training.sam_rho": 0.05},
        uses=_both(_above("training.sam_rho"), _is("training.sam_interval", 1)),
    ),
    Technique(
        name="SAM, every so many steps",
        section="optimizers",
        options={"training.sam_rho": 0.5, "training.sam_interval": 10},
        uses=_both(_above("training.sam_rho"), _above("training.sam_interval", 1)),
        cost="an even share of SAM's: a tenth at interval 10",
    ),
    Technique(
        name="EMA",
        section="optimizers",
        options={"training.ema_half_life": 100},
        uses=_both(_above("training.ema_half_life"), _is("training.ema_every", 1)),
    ),
    Technique(
        name="EMA, every so many steps",
        section="optimizers",
        options={"training.ema_half_life": 100, "training.ema_every": 20},
        uses=_both(_above("training.ema_half_life"), _above("training.ema_every", 1)),
        cost="an even share of EMA's: a twentieth at every 20",
    ),
    Technique(
        name="accumulation",
        section="optimizers",
        options={"training.device_batch_size": 8},
        uses=_above("training.device_batch_size"),
    ),
    Technique(
        name="skipping bad steps",
        section="optimizers",
        options={"training.nonfinite": "skip"},
        uses=_is("training.nonfinite", "skip"),
    ),
    Technique(
        name="label smoothing",
        section="losses",
        options={"training.label_smoothing": 0.1},
        uses=_above("training.label_smoothing"),
    ),
    Technique(name="BCE", section="losses", options={"loss.name": "bce"}, uses=_is("loss.name", "bce")),
    Technique(
        name="distillation",
        section="losses",
        options={"loss.teacher": WEIGHTS, "loss.teacher_arch": "resnet50"},
        uses=lambda config: bool(config.loss.teacher),
    ),
    _choice("augmentation", _POLICY, "auto-augment"),
    Technique(
        name="rand-augment",
        section="augmentation",
        options={_POLICY: "rand-augment"},
        uses=_both(_is(_POLICY, "rand-augment"), _is("augmentation.rand_augment_form", "torchvision")),
    ),
    Technique(
        name="rand-augment, timm's form",
        section="augmentation",
        options={
            _POLICY: "rand-augment",
            "augmentation.rand_augment_form": "timm",
            "augmentation.rand_augment_magnitude": 7,
            "augmentation.rand_augment_std": 0.5,
        },
        uses=_both(_is(_POLICY, "rand-augment"), _is("augmentation.rand_augment_form", "timm")),
    ),
    _choice("augmentation", _POLICY, "trivial-augment"),
    Technique(
        name="colour jitter",
        section="augmentation",
        options={
            "augmentation.brightness": 0.4,
            "augmentation.contrast": 0.4,
            "augmentation.saturation": 0.4,
            "augmentation.hue": 0.1,
        },
        uses=lambda config: any(
            getattr(config.augmentation, kind) for kind in ("brightness", "contrast", "saturation", "hue")
        ),
    ),
    Technique(
        name="erasing",
        section="augmentation",
        options={"augmentation.erasing_probability": 0.25},
        uses=_both(_above("augmentation.erasing_probability"), _is("augmentation.erasing_fill", "mean")),
    ),
    Technique(
        name="erasing with noise",
        section="augmentation",
        options={"augmentation.erasing_probability": 0.25, "augmentation.erasing_fill": "noise"},
        uses=_both(_above("augmentation.erasing_probability"), _is("augmentation.erasing_fill", "noise")),
    ),
    Technique(
        name="ColOut",
        section="augmentation",
        options={"augmentation.colout_rows": 0.15, "augmentation.colout_columns": 0.15},
        uses=lambda config: bool(config.augmentation.colout_rows or config.augmentation.colout_columns),
    ),
    Technique(
        name="MixUp",
        section="augmentation",
        options={"augmentation.mixup_alpha": 0.2},
        uses=_above("augmentation.mixup_alpha"),
    ),
    Technique(
        name="CutMix",
        section="augmentation",
        options={"augmentation.cutmix_alpha": 1.0},
        uses=_above("augmentation.cutmix_alpha"),
    ),
    Technique(
        name="MixUp or CutMix",
        section="augmentation",
        options={"augmentation.mixup_alpha": 0.2, "augmentation.cutmix_alpha": 1.0},
        uses=_both(_above("augmentation.mixup_alpha"), _above("augmentation.cutmix_alpha")),
    ),
    Technique(
        name="crop and flip",
        section="augmentation",
        options={"augmentation.min_scale": 0.08, "augmentation.flip": True},
        uses=_is("augmentation.flip", True),
        cost="none in the step: a part of decoding",
    ),
    Technique(
        name="repeats",
        section="augmentation",
        options={"augmentation.repeats": 3},
        uses=_above("augmentation.repeats", 1),
        cost="none in the step: the order of the images",
    ),
    Technique(
        name="BlurPool",
        section="network",
        options={"training.use_blurpool": True},
        uses=_is("training.use_blurpool", True),
    ),
    Technique(
        name="stochastic depth",
        section="network",
        options={"model.stochastic_depth": 0.1},
        uses=_above("model.stochastic_depth"),
    ),
    Technique(
        name="zero-init",
        section="network",
        options={"model.zero_init_residual": True},
        uses=_is("model.zero_init_residual", True),
        cost=START,
    ),
    Technique(
        name="dropout",
        section="network",
        options={"model.dropout": 0.2},
        uses=_above("model.dropout"),
        cost="not measured: resnet50 has no dropout layer",
    ),
    Technique(
        name="channels_last",
        section="speed",
        options={"training.channels_last": True},
        without={"training.channels_last": False},
        uses=_is("training.channels_last", True),
    ),
    Technique(
        name="bf16",
        section="speed",
        options={"training.precision": "bf16"},
        without={"training.precision": "fp32"},
        uses=lambda config: config.training.precision in ("auto", "bf16"),
    ),
    Technique(
        name="fp16",
        section="speed",
        options={"training.precision": "fp16"},
        uses=_is("training.precision", "fp16"),
        cost="not measured: needs a GPU",
    ),
    Technique(
        name="TF32",
        section="speed",
        options={"training.tf32": True},
        uses=_is("training.tf32", True),
        cost="not measured: needs a GPU",
    ),
    Technique(
        name="compile",
        section="speed",
        options={"training.compile": True},
        uses=_is("training.compile", True),
    ),
)
