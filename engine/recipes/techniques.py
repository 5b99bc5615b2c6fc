"""What a recipe switches on, in a few words: read off its configuration, so that it can't say anything else."""

from engine.config.schema import AugmentationConfig, TrainConfig

_POLICIES = {"auto-augment": "AutoAugment", "trivial-augment": "TrivialAugment"}


def techniques(config: TrainConfig) -> dict[str, str]:
    """Each technique that is on, by its name, in words with its strength; the schedule first."""
    training, model, loss = config.training, config.model, config.loss
    found: list[tuple[str, object]] = [
        ("schedule", config.lr.lr_schedule_type),
        ("Nesterov", training.nesterov and "Nesterov"),
        ("SAM", training.sam_rho and _every("SAM", training.sam_interval)),
        ("clipping", training.clip_norm and f"clip {training.clip_norm:g}"),
        ("EMA", training.ema_half_life and "EMA"),
        ("BCE", loss.name == "bce" and "BCE"),
        ("smoothing", training.label_smoothing and f"smoothing {training.label_smoothing:g}"),
        ("distillation", loss.teacher and "distillation"),
        ("BlurPool", training.use_blurpool and "BlurPool"),
        ("stoch. depth", model.stochastic_depth > 0 and f"stoch. depth {model.stochastic_depth:g}"),
        ("dropout", model.dropout > 0 and f"dropout {model.dropout:g}"),
        ("zero-init", model.zero_init_residual and "zero-init"),
        ("head alone", model.train_only == "head" and "head alone"),
        *_augmentations(config.augmentation),
        ("compile", training.compile and "compile"),
    ]
    # Where one is off, what it goes by stands in its words' place: 0, false or an empty text.
    return {name: words for name, words in found if words and isinstance(words, str)}


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What a later stage does otherwise than the one before it, in words."""
    new = [words for name, words in after.items() if before.get(name) != words]
    return new + [f"no {name}" for name in before if name not in after]


def _augmentations(law: AugmentationConfig) -> list[tuple[str, object]]:
    rand = f"RandAugment {law.rand_augment_ops}x{law.rand_augment_magnitude:g}"
    return [
        ("whole images", law.min_scale == 1 and law.max_aspect == 1 and "whole images"),
        ("crops", 0.08 != law.min_scale < 1 and f"crops from {law.min_scale:.0%}"),
        ("unflipped", not law.flip and "unflipped"),
        ("repeats", law.repeats > 1 and f"{law.repeats} repeats"),
        ("policy", rand if law.policy == "rand-augment" else _POLICIES.get(law.policy)),
        ("jitter", any((law.brightness, law.contrast, law.saturation, law.hue)) and "jitter"),
        ("erasing", law.erasing_probability and f"erasing {law.erasing_probability:g}"),
        ("ColOut", any((law.colout_rows, law.colout_columns)) and "ColOut"),
        ("MixUp", law.mixup_alpha and f"MixUp {law.mixup_alpha:g}"),
        ("CutMix", law.cutmix_alpha and f"CutMix {law.cutmix_alpha:g}"),
    ]


def _every(name: str, interval: int) -> str:
    return name if interval == 1 else f"{name} every {interval}"
