"""Every option that is declared can be set to another valid value, in YAML and on the command line."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config.load import load_train_config, load_write_config
from engine.config.options import OptionSpec, options_of, sections_of
from engine.config.train.train_config import TrainConfig
from engine.config.write import WriteConfig

# What a valid command line needs at least.
NEEDED = {
    TrainConfig: {"data.train_dataset": "t.beton", "data.val_dataset": "v.beton"},
    WriteConfig: {"source.path": "images", "output.folder": "out"},
}

# Options whose text or number has a form of its own: a valid value that is not the default.
VALUES = {
    "resolution.stages": "96x20, 128x10",
    "resolution.batch_sizes": "128:64",
    "checkpoint.storage_options": '{"key": "value"}',
    "data.storage_options": '{"key": "value"}',
    "logging.also": "csv",
    "validation.resolutions": "224,288",
    "validation.search": "224,256",
    "reference.curve": "1:0.2, 3:0.4",
    "training.timeline": "0:5.4, 2.25:6.1",
    "plan.pace": "160:21000, 192:15600",
    "output.page_size": 16,
    "source.extensions": ".tif,.ppm",
    "run.sbatch": "--time=120",
    "run.storage_options": '{"key": "value"}',
    "lr.lr_start": 0.1,
    "lr.lr_final": 0.1,
    "augmentation.min_scale": 0.5,
    "model.stochastic_depth": 0.1,
    "model.dropout": 0.1,
    "resolution.min_res": 128,
}

_VALIDATED = {"training.eval_only": True, "model.weights": "w.pt"}
_TARGET = {"budget.target_top1": 0.9}
_SHARDS = {"run.shards": 8}
_COSINE = {"lr.lr_schedule_type": "cosine"}

# Options that are refused alone: what has to be set with them.
WITH: dict[str, dict[str, Any]] = {
    "resolution.stages": {"resolution.schedule": "stages"},
    "resolution.start_ramp": {"resolution.end_ramp": 1},
    "augmentation.max_scale": {"augmentation.min_scale": 0.01},
    "budget.adapt": {"budget.minutes": 3},
    "budget.stop_at_target": _TARGET,
    "loss.bce_sum": {"loss.name": "bce"},
    "loss.bce_threshold": {"loss.name": "bce"},
    "loss.teacher_arch": {"loss.teacher": "t.pt"},
    "lr.lr_start": _COSINE,
    "lr.flat_until": {"lr.lr_schedule_type": "flat-cosine"},
    "model.ensemble": _VALIDATED,
    "model.use_ema": {"model.weights": "w.pt"},
    "model.reset_head": {"model.weights": "w.pt"},
    "model.weights_key": {"model.weights": "w.pt"},
    "training.eval_only": {"model.weights": "w.pt"},
    "training.sam_interval": {"training.sam_rho": 0.1},
    "training.ema_every": {"training.ema_half_life": 10},
    "training.first_stage": {"model.weights": "w.pt"},
    "validation.resolutions": _VALIDATED,
    "validation.search": {**_VALIDATED, "data.holdout": 0.1},
    "validation.reference": _VALIDATED,
    "validation.reference_folder": {**_VALIDATED, "validation.reference": "images"},
    "validation.reference_labels": {**_VALIDATED, "validation.reference": "images"},
    "checkpoint.storage_options": {"checkpoint.copy_to": "memory://runs"},
    "data.storage_options": {"data.val_dataset": "s3://bucket/v.beton"},
    "reference.top1": {"reference.source": "someone"},
    "reference.minutes": {"reference.source": "someone"},
    "reference.curve": {"reference.source": "someone"},
    "output.short_side": {"output.format": "yuv420"},
    "run.scheduler": {"run.on": "dask"},
    "run.sbatch": {"run.on": "slurm"},
    "run.workers": _SHARDS,
    "run.folder": _SHARDS,
    "run.storage_options": {**_SHARDS, "run.folder": "memory://shards"},
    "run.merge": _SHARDS,
}

OPTIONS = [
    pytest.param(schema, f"{name}.{key}", spec, id=f"{name}.{key}")
    for schema in (TrainConfig, WriteConfig)
    for name, section in sections_of(schema).items()
    for key, spec in options_of(section).items()
]


def other_value(name: str, spec: OptionSpec) -> Any:
    """A valid value that is not the default, from the option's type, choices and limits."""
    if name in VALUES:
        return VALUES[name]
    if spec.type is bool:
        return not spec.default
    if spec.choices:
        return next(choice for choice in spec.choices if choice != spec.default)
    if spec.type is str:
        return "some text"
    if spec.type is int:
        return spec.default - 1 if spec.high == spec.default else spec.default + 1
    low = spec.low if spec.low is not None else spec.above if spec.above is not None else spec.default - 1
    end = spec.high if spec.high not in (None, spec.default) else low
    return (spec.default + end) / 2 if end != spec.default else spec.default + 1.0


def loaded(schema: type, argv: list[str]) -> Any:
    """The configuration; of a recipe of several stages the first."""
    return load_train_config(argv)[0] if schema is TrainConfig else load_write_config(argv)


@pytest.mark.parametrize(("schema", "name", "spec"), OPTIONS)
def test_option_is_set_by_yaml_and_by_command_line(
    schema: type, name: str, spec: OptionSpec, tmp_path: Path
) -> None:
    value = other_value(name, spec)
    assert spec.parse(value) == value != spec.default
    settings = {**NEEDED[schema], **WITH.get(name, {}), name: value}
    recipe = tmp_path / "recipe.yaml"
    # A second stage, for training.first_stage.
    stages = {"then": [{"training": {"epochs": 4}}]} if name == "training.first_stage" else {}
    recipe.write_text(yaml.safe_dump({**settings, **stages}))
    without = tmp_path / "without.yaml"
    without.write_text(yaml.safe_dump(stages))
    argv = [f"--{key}={text}" for key, text in settings.items()]
    section, key = name.split(".")
    for config in (
        loaded(schema, ["-C", str(recipe)]),
        loaded(schema, ["-C", str(without), *argv]),
    ):
        assert getattr(getattr(config, section), key) == value


def test_tables_of_this_file_name_options_that_exist() -> None:
    names = {param.id for param in OPTIONS}
    assert {*VALUES, *WITH} <= names
    assert {key for needed in (*WITH.values(), *NEEDED.values()) for key in needed} <= names
