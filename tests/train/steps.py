"""A training step without files: a small network, random batches, and the recipe's Step over them."""

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.train.augment.chain import TrainBatch
from engine.train.ranks.group import Ranks
from engine.train.step.precision import Precision
from engine.train.step.step import Step

CPU = torch.device("cpu")
ALONE = Ranks(
    rank=0, world=1, local_rank=0, local_world=1, device=CPU, share=frozenset(os.sched_getaffinity(0))
)


def recipe(**training: Any) -> TrainConfig:
    """A configuration with these options of section training."""
    options = [f"--training.{key}={value}" for key, value in training.items()]
    return load_train_config(["--data.train_dataset=a", "--data.val_dataset=b", "--lr.lr=0.4", *options])[0]


def network(*, norm: bool = True) -> nn.Sequential:
    """The same one each time; without a norm its gradients do not depend on how a batch is split."""
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for convolution in (nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 1, bias=False)):
        layers += [convolution, nn.BatchNorm2d(6) if norm else nn.Identity(), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(6 * 6 * 6, 4))


def batches(count: int, size: int = 8, seed: int = 0) -> list[TrainBatch]:
    """Random images of 8 x 8 and random labels of four classes."""
    random = torch.Generator().manual_seed(seed)
    return [
        TrainBatch(
            torch.randn(size, 3, 8, 8, generator=random), torch.randint(0, 4, (size,), generator=random)
        )
        for _ in range(count)
    ]


def step_of(config: TrainConfig, model: nn.Module) -> Step:
    """The step over `model`, on the CPU and in fp32."""
    return Step(config, ALONE, Precision("fp32", CPU), model.train(), 4)


def take(
    step: Step, parts: list[TrainBatch], *, accumulation: int = 1, lr: float = 0.1
) -> list[tuple[float, bool]]:
    """Steps until the parts are used up; the loss and whether it was left out of each."""
    taken = []
    left: Iterator[TrainBatch] = iter(parts)
    for number in range(len(parts) // accumulation):
        loss, left_out = step.take(left, accumulation, lr=lr, number=number)
        taken.append((float(loss), bool(left_out)))
    return taken


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of everything that the network holds."""
    return {name: value.clone() for name, value in model.state_dict().items()}
