"""Our step, set up as engine.train.run sets it up."""

from engine.train.ranks.process import keep_freed_memory, limit_spinning

# ruff: noqa: E402
# As train_imagenet.py does: it has an effect only before torch is imported.
limit_spinning()

import itertools
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.sides.steps.step_tasks import CLASSES, StepTask
from benchmarks.sides.steps.step_training import (
    LEARNING_RATE,
    MOMENTUM,
    SMOOTHING,
    WEIGHT_DECAY,
    Training,
    first_weights,
)
from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.models.build import build_model
from engine.train.augment.chain import TrainBatch
from engine.train.ranks.group import Ranks
from engine.train.step.precision import choose_precision
from engine.train.step.step import Step


class _Ours:
    def __init__(self, task: StepTask) -> None:
        set_host(task)
        config, device = recipe(task, 1, {}), torch.device(task.device)
        precision = choose_precision(task.precision, device)
        self.dtype, self.layout = precision.input_dtype, torch.channels_last
        self.model = network(config, device)
        self._step = Step(config, alone(device), precision, self.model, CLASSES)
        self.optimizer = self._step.optimizer
        self._numbers = itertools.count()
        self.settings = f"engine.train.step.step.Step: {precision.name}, channels_last, fused SGD" + (
            ", with engine.train.ranks.process" if task.device == "cpu" else ""
        )

    def ready(self, count: int, side: int) -> float:
        return self._step.prepare(count, side)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        batches = iter((TrainBatch(images, labels),))
        return self._step.take(batches, 1, lr=LEARNING_RATE, number=next(self._numbers))[0]


def set_host(task: StepTask) -> None:
    """What engine.train.run sets in a process."""
    torch.set_num_threads(task.cores)
    if task.device == "cpu":
        keep_freed_memory()
    torch.backends.cudnn.benchmark = True


def recipe(task: StepTask, batch: int, options: Mapping[str, Any]) -> TrainConfig:
    """What all sides train, as our configuration, with further `options` by dotted name. Raises UserError."""
    common = {
        "data.train_dataset": "made-up",
        "data.val_dataset": "made-up",
        "model.arch": task.arch,
        "training.batch_size": batch,
        "lr.lr": LEARNING_RATE,
        "training.momentum": MOMENTUM,
        "training.weight_decay": WEIGHT_DECAY,
        "training.label_smoothing": SMOOTHING,
        "training.use_blurpool": task.blurpool,
        "training.precision": task.precision,
        "training.compile": task.compile,
        "training.device": task.device,
    }
    return load_train_config([f"--{key}={value}" for key, value in {**common, **options}.items()])[0]


def network(config: TrainConfig, device: torch.device) -> torch.nn.Module:
    """The network as a run has it, in training mode, with the weights that all sides begin with."""
    arch = config.model.arch
    model = build_model(arch, CLASSES, use_blurpool=config.training.use_blurpool)
    model.load_state_dict(first_weights(arch))
    return model.train().to(device).to(memory_format=torch.channels_last)


def alone(device: torch.device) -> Ranks:
    """A single process on the device."""
    return Ranks(rank=0, world=1, local_rank=0, local_world=1, device=device)


def open_side(task: StepTask) -> Training:
    """Our step for the task."""
    return Training(_Ours(task), task)
