"""The step as ffcv-imagenet's train_imagenet.py takes it, rewritten from its behaviour.

Eager, autocast to fp16 with a gradient scaler, channels_last, SGD whose groups are decided by 'bn' in a parameter's
name, gradients set to None before each step, and a learning rate looked up for each. With BlurPool it wraps strided
convolutions of at least 16 input channels: a depthwise 3x3 blur with stride 1, then the convolution as it was.
"""

import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.sides.steps.step_tasks import CLASSES, StepTask
from benchmarks.sides.steps.step_training import (
    LEARNING_RATE,
    MOMENTUM,
    SMOOTHING,
    WEIGHT_DECAY,
    Training,
    first_weights,
    precision_of,
)
from engine.models.build import build_model

_MIN_CHANNELS = 16
# Steps whose learning rates are laid out in advance, as it does for each epoch.
_EPOCH = 1000


class _BlurredConv(nn.Module):
    """A convolution behind a blur."""

    blur: torch.Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        row = torch.tensor([1.0, 2.0, 1.0])
        blur = (row[:, None] * row / 16).expand(conv.in_channels, 1, 3, 3)
        self.register_buffer("blur", blur.contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        blurred = functional.conv2d(x, self.blur, stride=1, padding=1, groups=self.conv.in_channels)
        return self.conv(blurred)


def _blur(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d) and max(child.stride) > 1 and child.in_channels >= _MIN_CHANNELS:
            setattr(module, name, _BlurredConv(child))
        else:
            _blur(child)


class _FfcvImagenet:
    def __init__(self, task: StepTask) -> None:
        torch.backends.cudnn.benchmark = True
        self._precision = precision_of(task, usual="fp16")
        self.dtype, self.layout = self._precision.input_dtype, torch.channels_last
        self.model = build_model(task.arch, CLASSES, use_blurpool=False)
        self.model.load_state_dict(first_weights(task.arch))
        if task.blurpool:
            _blur(self.model)
        self.model = self.model.train().to(memory_format=torch.channels_last).to(task.device)
        named = list(self.model.named_parameters())
        groups = [
            {"params": [value for name, value in named if "bn" in name], "weight_decay": 0.0},
            {"params": [value for name, value in named if "bn" not in name], "weight_decay": WEIGHT_DECAY},
        ]
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(groups, lr=1.0, momentum=MOMENTUM)
        self._scaler = self._precision.scaler()
        self._loss = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
        self._rates = np.interp(np.arange(_EPOCH), [0, _EPOCH], [LEARNING_RATE, LEARNING_RATE])
        self._numbers = itertools.count()
        self.settings = (
            f"{self._precision.name} autocast, gradient scaler where fp16, channels_last, torch's SGD"
        )

    def ready(self, count: int, side: int) -> float:
        return 0.0

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        rate = self._rates[next(self._numbers) % _EPOCH]
        for group in self.optimizer.param_groups:
            group["lr"] = float(rate)
        self.optimizer.zero_grad(set_to_none=True)
        with self._precision.autocast():
            loss: torch.Tensor = self._loss(self.model(images), labels)
        self._scaler.scale(loss).backward()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        return loss.detach()


def open_side(task: StepTask) -> Training:
    """ffcv-imagenet's step for the task."""
    torch.set_num_threads(task.cores)
    return Training(_FfcvImagenet(task), task)
