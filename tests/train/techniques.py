"""A case for every option that is a technique: how it is turned on, and what has to be on for it to mean something.

Options of a few named choices have a case for each choice by themselves. test_techniques.py runs them all, and holds
that no option and no choice is left without: a new one gets a case here, or a line that says why it needs none.
"""

from dataclasses import dataclass, field
from typing import Any

from engine.config.options import OptionSpec, options_of
from engine.config.train.augmentation import AugmentationConfig
from engine.config.train.loss import LossConfig
from engine.config.train.model import ModelConfig
from engine.config.train.schedule import LrConfig, ResolutionConfig
from engine.config.train.train_config import DataConfig
from engine.config.train.training import TrainingConfig
from engine.models.build import MODELS

Settings = dict[str, Any]

SECTIONS = {
    "model": ModelConfig,
    "resolution": ResolutionConfig,
    "data": DataConfig,
    "augmentation": AugmentationConfig,
    "loss": LossConfig,
    "lr": LrConfig,
    "training": TrainingConfig,
}

# Two epochs of three steps.
PLAIN: Settings = {
    "model.arch": "small_resnet",
    "resolution.min_res": 16,
    "resolution.max_res": 16,
    "augmentation.min_scale": 0.5,
    "lr.lr": 0.05,
    "lr.lr_peak_epoch": 0.5,
    "validation.resolution": 32,
    "validation.plain_resolution": 32,
    "training.batch_size": 40,
    "training.epochs": 2,
    "training.precision": "fp32",
    "training.device": "cpu",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """`on` beside `base`, both beside PLAIN, is trained and held against `base` alone.

    `effect` is what `on` has to have: "another" result, the "same" to the bit, or "any" where that depends on the
    machine.
    """

    name: str
    on: Settings
    base: Settings = field(default_factory=dict)
    effect: str = "another"


_GROWS: Settings = {"resolution.max_res": 24, "resolution.end_ramp": 1, "resolution.multiple_of": 4}
_PROGRESSIVE: Settings = {
    "resolution.schedule": "progressive",
    "resolution.max_res": 32,
    "resolution.multiple_of": 4,
}
_RAND: Settings = {"augmentation.policy": "rand-augment"}
_TAUGHT: Settings = {"loss.teacher": "{weights}", "loss.teacher_arch": "small_resnet"}
_BOTH_MIX: Settings = {"augmentation.mixup_alpha": 0.4, "augmentation.cutmix_alpha": 1.0}
# The smallest and quickest of torchvision's that drops anything out.
_DROPS: Settings = {"model.arch": "mobilenet_v3_small", "resolution.min_res": 32, "resolution.max_res": 32}

VALUES: dict[str, tuple[Any, Settings]] = {
    "model.stochastic_depth": (0.5, {}),
    "model.dropout": (0.6, _DROPS),
    "model.zero_init_residual": (True, {}),
    "model.weights": ("{weights}", {}),
    "model.use_ema": (True, {"model.weights": "{averaged}"}),
    "model.reset_head": (True, {"model.weights": "{weights}"}),
    "resolution.min_res": (8, {"resolution.max_res": 24}),
    "resolution.max_res": (24, {}),
    "resolution.start_ramp": (0.5, {**_GROWS, "resolution.end_ramp": 0.5}),
    "resolution.end_ramp": (0.5, _GROWS),
    "resolution.multiple_of": (8, _GROWS),
    "resolution.initial_scale": (0.75, _PROGRESSIVE),
    "resolution.delay_fraction": (0, _PROGRESSIVE),
    "resolution.finetune_fraction": (0.5, _PROGRESSIVE),
    "resolution.stages": (
        "24x1, 16x1",
        {"resolution.schedule": "stages", "resolution.stages": "16x1, 24x1"},
    ),
    "resolution.batch_sizes": ("16:20", {}),
    "data.holdout": (0.25, {}),
    "augmentation.min_scale": (0.2, {}),
    "augmentation.max_scale": (0.8, {}),
    "augmentation.max_aspect": (1, {}),
    "augmentation.flip": (False, {}),
    "augmentation.repeats": (3, {}),
    "augmentation.rand_augment_ops": (1, _RAND),
    "augmentation.rand_augment_magnitude": (4, _RAND),
    "augmentation.rand_augment_std": (2, _RAND),
    "augmentation.rand_augment_probability": (0.5, _RAND),
    "augmentation.brightness": (0.4, {}),
    "augmentation.contrast": (0.4, {}),
    "augmentation.saturation": (0.4, {}),
    "augmentation.hue": (0.1, {}),
    "augmentation.erasing_probability": (0.5, {}),
    "augmentation.colout_rows": (0.2, {}),
    "augmentation.colout_columns": (0.2, {}),
    "augmentation.mixup_alpha": (0.4, {}),
    "augmentation.cutmix_alpha": (1, {}),
    "augmentation.cutmix_share": (0.9, _BOTH_MIX),
    "augmentation.mix_probability": (0.5, _BOTH_MIX),
    "loss.bce_sum": (True, {"loss.name": "bce"}),
    "loss.bce_threshold": (0.2, {"loss.name": "bce"}),
    "loss.effective_beta": (0.6, {"loss.class_weights": "effective"}),
    "loss.teacher_blurpool": (True, _TAUGHT),
    "loss.distill_alpha": (0.9, _TAUGHT),
    "loss.distill_temperature": (3, _TAUGHT),
    "lr.lr": (0.02, {}),
    "lr.lr_peak_epoch": (1.5, {}),
    "lr.lr_peak_share": (0.5, {}),
    "lr.lr_start": (0.01, {"lr.lr_schedule_type": "cosine"}),
    "lr.lr_final": (0.01, {}),
    "lr.power": (1, {"lr.lr_schedule_type": "polynomial"}),
    "lr.flat_until": (0.5, {"lr.lr_schedule_type": "flat-cosine"}),
    "lr.step_ratio": (0.5, {"lr.lr_schedule_type": "step", "lr.step_length": 1}),
    "lr.step_length": (1, {"lr.lr_schedule_type": "step"}),
    "lr.div_factor": (5, {"lr.lr_schedule_type": "one-cycle"}),
    "lr.final_div_factor": (10, {"lr.lr_schedule_type": "one-cycle"}),
    "training.batch_size": (30, {}),
    "training.device_batch_size": (20, {}),
    "training.momentum": (0.5, {}),
    "training.nesterov": (True, {}),
    "training.beta1": (0.8, {"training.optimizer": "adamw"}),
    "training.beta2": (0.9, {"training.optimizer": "adamw"}),
    "training.eps": (0.01, {"training.optimizer": "lamb"}),
    "training.weight_decay": (0.01, {}),
    "training.clip_norm": (0.5, {}),
    "training.sam_rho": (0.1, {}),
    "training.sam_interval": (2, {"training.sam_rho": 0.1}),
    "training.ema_half_life": (2, {}),
    "training.ema_every": (2, {"training.ema_half_life": 2}),
    "training.epochs": (3, {}),
    "training.timeline": ("0:1.5", {}),
    "training.label_smoothing": (0, {}),
    "training.use_blurpool": (True, {}),
    "training.seed": (1, {}),
}
"""Each other option: a value that makes a difference, and what it needs."""

UNSEEN: dict[str, tuple[Any, Settings]] = {
    "data.num_workers": (2, {}),
    "data.in_memory": (False, {}),
    "data.window_mb": (8, {"data.order": "pages"}),
    "training.loss_limit": (100, {}),
    # On a CPU they all are; torch would refuse one that is not.
    "training.deterministic": (True, {}),
}
"""Options that must not show in the result."""

CHOICES: dict[str, Case] = {
    "resolution.schedule=stages": Case(
        name="stages", on={"resolution.schedule": "stages", "resolution.stages": "16x1, 24x1"}
    ),
    "resolution.schedule=progressive": Case(
        name="progressive", on={**_PROGRESSIVE, "resolution.delay_fraction": 0}
    ),
    "augmentation.rand_augment_form=timm": Case(
        name="timm", on={"augmentation.rand_augment_form": "timm"}, base=_RAND
    ),
    "augmentation.erasing_fill=noise": Case(
        name="noise",
        on={"augmentation.erasing_fill": "noise"},
        base={"augmentation.erasing_probability": 0.5},
    ),
    "lr.batch_scaling=linear": Case(
        name="linear", on={"lr.batch_scaling": "linear"}, base={"resolution.batch_sizes": "16:20"}
    ),
    "training.precision=fp16": Case(
        name="fp16", on={"training.precision": "fp16"}, base={"training.device": "cuda"}
    ),
    # With so few images the whole file is one page of one window.
    "data.order=pages": Case(name="pages", on={"data.order": "pages"}, effect="same"),
    "data.decoder=packed": Case(
        name="packed",
        on={"data.decoder": "packed"},
        base={"data.train_dataset": "{raw}", "data.decoder": "cpu"},
        effect="any",
    ),
    "data.decoder=gpu": Case(
        name="gpu", on={"data.decoder": "gpu"}, base={"training.device": "cuda"}, effect="any"
    ),
    "data.resident=on": Case(
        name="resident",
        on={"data.resident": "on"},
        base={"data.train_dataset": "{raw}", "data.decoder": "packed"},
        effect="same",
    ),
    **{
        f"data.{key}={value}": Case(name=value, on={f"data.{key}": value}, effect="same")
        for key, value in (
            ("decoder", "cpu"),
            # On a CPU auto leaves the data where they are.
            ("resident", "auto"),
            ("verify", "always"),
            ("verify", "never"),
            ("corrupt", "skip"),
        )
    },
    "training.nonfinite=skip": Case(name="skip", on={"training.nonfinite": "skip"}, effect="same"),
    **{
        f"training.{key}={value}": Case(name=value, on={f"training.{key}": value}, effect="any")
        for key, value in (
            ("precision", "auto"),
            *(("device", kind) for kind in ("auto", "cuda", "mps", "xpu")),
        )
    },
}
"""Choices that need something beside them, or whose effect is another than to change the result."""

NO_CASE = {
    "data.train_dataset": "every case has one",
    "data.val_dataset": "every case has one",
    "data.classes": "no training: tests/train/test_known_classes.py",
    "data.cache_folder": "of files at a URL: tests/train/test_remote_run.py",
    "data.cache_gb": "of files at a URL: tests/data/remote/test_faults.py",
    "data.storage_options": "of files at a URL: tests/data/remote/test_s3_downloads.py",
    "data.pin_cores": "of several processes: tests/train/ranks/test_cores.py",
    "loss.teacher": "the case teacher",
    "loss.teacher_arch": "the case teacher",
    "training.channels_last": "its case is below: rounding alone may differ",
    "training.blur_kernel": "needs a GPU: tests/models/test_triton_blur.py",
    "training.exchange": "of several ranks: tests/train/ranks/test_exchange.py",
    "training.static_graph": "of several ranks: tests/train/ranks/test_exchange.py",
    "training.stem_channels": "needs a GPU: tests/models/test_stem.py",
    "training.compile": "takes a minute: tests/train/step/test_compiling.py",
    "training.combo_kernels": "takes a minute: tests/train/step/test_compiling.py",
    "training.cuda_graphs": "needs a GPU: tests/train/step/test_graphs.py",
    "training.fit_memory": "does nothing on a CPU",
    "training.tf32": "does nothing on a CPU",
    "training.sync_bn": "of several GPUs: tests/train/step/test_step.py",
    "training.first_stage": "of a recipe with several stages: tests/train/test_recipe_run.py",
    "data.replay": "no result: tests/train/test_replay_run.py",
    "training.eval_only": "no training: tests/train/test_run.py",
    "training.resume": "tests/train/checkpoints/test_resume.py",
    "model.ensemble": "no training: tests/train/evaluation/test_ensemble.py",
    "model.match_classes": "only compares names: tests/train/test_weights.py",
    "model.weights_key": "which entry of a file to load: tests/train/test_weights.py",
    "model.arch": "a case for each network of ours below",
}
"""Options without a case of their own, and why."""


def _of_choices(name: str, spec: OptionSpec) -> list[Case]:
    cases = []
    for choice in spec.choices:
        found = CHOICES.get(f"{name}={choice}", Case(name=choice, on={name: choice}))
        default = PLAIN.get(name, spec.default) == choice
        effect = "same" if default else found.effect
        cases.append(Case(name=f"{name}={choice}", on=found.on, base=found.base, effect=effect))
    return cases


def _of_options() -> list[Case]:
    cases = []
    for section, schema in SECTIONS.items():
        for key, spec in options_of(schema).items():
            name = f"{section}.{key}"
            if spec.choices and name not in NO_CASE:
                cases += _of_choices(name, spec)
            elif name in VALUES or name in UNSEEN:
                value, base = (VALUES | UNSEEN)[name]
                effect = "same" if name in UNSEEN else "another"
                cases.append(Case(name=name, on={name: value}, base=base, effect=effect))
    return cases


CASES = [
    *_of_options(),
    Case(name="teacher", on=_TAUGHT),
    Case(name="training.channels_last", on={"training.channels_last": False}, effect="any"),
    *(
        # Deep networks: small images are enough.
        Case(
            name=f"model.arch={arch}",
            on={"model.arch": arch},
            base={"resolution.min_res": 8, "resolution.max_res": 8, "lr.lr": 0.005},
            effect="same" if arch == PLAIN["model.arch"] else "another",
        )
        for arch in MODELS.names()
    ),
]
