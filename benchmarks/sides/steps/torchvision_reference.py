"""The step as torchvision's references/classification/train.py takes it with --amp, rewritten from its behaviour.

Float32 images in plain memory order, autocast to fp16 with a gradient scaler, SGD that decays all weights alike, and
after each step the loss and the top-1 and top-5 accuracies of the batch, read by the host.
"""

import torch
from torch import nn

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


class _TorchvisionReference:
    def __init__(self, task: StepTask) -> None:
        torch.backends.cudnn.benchmark = True
        self._precision = precision_of(task, usual="fp16")
        self.dtype, self.layout = torch.float32, torch.contiguous_format
        self.model = build_model(task.arch, CLASSES, use_blurpool=False)
        self.model.load_state_dict(first_weights(task.arch))
        self.model = self.model.train().to(task.device)
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
            self.model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        self._scaler = self._precision.scaler()
        self._loss = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
        self.seen = (0.0, 0.0, 0.0)
        self.settings = (
            f"{self._precision.name} autocast, gradient scaler where fp16, float32 images in NCHW order, torch's SGD, "
            "loss and accuracies read after each step"
        )

    def ready(self, count: int, side: int) -> float:
        return 0.0

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with self._precision.autocast():
            logits = self.model(images)
            loss: torch.Tensor = self._loss(logits, labels)
        self.optimizer.zero_grad()
        self._scaler.scale(loss).backward()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self._read(logits, labels, loss)
        return loss.detach()

    @torch.no_grad()
    def _read(self, logits: torch.Tensor, labels: torch.Tensor, loss: torch.Tensor) -> None:
        best = logits.topk(5, dim=1).indices
        right = best == labels[:, None]
        top1, top5 = (right[:, :count].any(1).float().mean() for count in (1, 5))
        self.seen = (loss.item(), top1.item(), top5.item())


def open_side(task: StepTask) -> Training:
    """torchvision's step for the task."""
    torch.set_num_threads(task.cores)
    return Training(_TorchvisionReference(task), task)
