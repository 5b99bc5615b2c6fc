"""Our training steps in this process, as the trainer takes them, on made-up images: no loader or disk is involved."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.data.loading.loader import Batch
from engine.models.head import train_mode
from engine.train.augment.chain import Augment, TrainBatch, loader_dtype
from engine.train.ranks.group import Ranks
from engine.train.ranks.process import keep_freed_memory
from engine.train.step.precision import choose_precision
from engine.train.step.step import Step
from engine.train.weights import build_network

CLASSES = 1000
_LR = 1e-3


def set_up_device() -> torch.device:
    """The GPU where there is one, else the CPU; set up as engine.train.run does, without TF32."""
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        return torch.device("cuda")
    keep_freed_memory()
    return torch.device("cpu")


def ranks_here(device: torch.device) -> Ranks:
    """This process alone."""
    cores = frozenset(os.sched_getaffinity(0))
    return Ranks(rank=0, world=1, local_rank=0, local_world=1, device=device, share=cores)


def step_config(arch: str, batch: int, options: Mapping[str, Any]) -> TrainConfig:
    """The defaults with these options, by dotted name. Raises UserError for one that can't be used."""
    asked = {"model.arch": arch, "training.batch_size": batch, **options}
    files = {"data.train_dataset": "made-up", "data.val_dataset": "made-up"}
    return load_train_config([f"--{key}={value}" for key, value in {**files, **asked}.items()])[0]


class TrainingStep:
    """One optimizer step of a recipe after another, augmentation included, on one batch of `side` pixels.

    `surgery` changes the network before the step is made over it.
    """

    def __init__(
        self,
        config: TrainConfig,
        ranks: Ranks,
        *,
        side: int,
        surgery: Callable[[nn.Module], None] | None = None,
    ) -> None:
        torch.manual_seed(0)
        training = config.training
        precision = choose_precision(training.precision, ranks.device)
        self.model = build_network(config, CLASSES, ranks.device)
        if surgery:
            surgery(self.model)
        train_mode(self.model)
        self._augment = Augment(config, CLASSES, precision.input_dtype)
        self._step = Step(config, ranks, precision, self.model, CLASSES)
        limit = training.device_batch_size or training.batch_size
        self._accumulation = -(-training.batch_size // limit)
        dtype = loader_dtype(config, precision.input_dtype)
        self._images = torch.randn(limit, 3, side, side, device=ranks.device).to(dtype)
        layout = torch.channels_last if training.channels_last else torch.contiguous_format
        self._images = self._images.contiguous(memory_format=layout)
        self._labels = torch.randint(0, CLASSES, (limit,), device=ranks.device)
        self._taken = 0
        self._step.prepare(limit, side)

    def __call__(self) -> None:
        """Take a step; the device may still be at work."""
        self._step.take(self._batches(), self._accumulation, lr=_LR, number=self._taken)
        self._taken += 1

    def _batches(self) -> Iterator[TrainBatch]:
        for part in range(self._accumulation):
            ids = np.arange(len(self._labels)) + part * len(self._labels)
            yield self._augment(Batch(self._images, self._labels, ids), self._taken)
