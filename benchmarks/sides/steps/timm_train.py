"""timm's own network, optimizer, loss, scaler and scheduler, put together as its train.py does with --amp
--channels-last; with BlurPool its `aa_layer`, which blurs at other places than ffcv-imagenet."""

import importlib
import itertools
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
    precision_of,
)
from engine.errors import UserError
from engine.models.from_timm import PREFIX

# By name: its packages do not mark what they export.
timm: Any = importlib.import_module("timm")
layers: Any = importlib.import_module("timm.layers")
losses: Any = importlib.import_module("timm.loss")
optimizers: Any = importlib.import_module("timm.optim")
schedulers: Any = importlib.import_module("timm.scheduler")
utils: Any = importlib.import_module("timm.utils")

# Of its cosine, which here starts and ends at the same rate.
_STEPS = 10**6


class _Timm:
    def __init__(self, task: StepTask) -> None:
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
        self._precision = precision_of(task)
        self.dtype, self.layout = torch.float32, torch.channels_last
        self.model = _network(task)
        self.model = self.model.train().to(task.device).to(memory_format=torch.channels_last)
        self.optimizer = optimizers.create_optimizer_v2(
            # Its "sgd" is Nesterov's.
            self.model,
            opt="momentum",
            lr=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            momentum=MOMENTUM,
        )
        self._scheduler = schedulers.CosineLRScheduler(
            self.optimizer, t_initial=_STEPS, lr_min=LEARNING_RATE, t_in_epochs=False
        )
        self._scaler = utils.NativeScaler(device=task.device) if self._precision.name == "fp16" else None
        self._loss = losses.LabelSmoothingCrossEntropy(SMOOTHING)
        self._numbers = itertools.count(1)
        self.settings = (
            f"timm {timm.__version__}, {self._precision.name} autocast, its scaler where fp16, float32 images in "
            "channels_last order, its SGD, loss and scheduler"
        )

    def ready(self, count: int, side: int) -> float:
        return 0.0

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with self._precision.autocast():
            loss: torch.Tensor = self._loss(self.model(images), labels)
        if self._scaler is not None:
            self._scaler(loss, self.optimizer, parameters=self.model.parameters())
        else:
            loss.backward()
            self.optimizer.step()
        self.optimizer.zero_grad()
        self._scheduler.step_update(num_updates=next(self._numbers))
        return loss.detach()


def _network(task: StepTask) -> torch.nn.Module:
    """timm's with the common weights. Raises UserError where timm has none of that name, or not the same weights."""
    name = task.arch.removeprefix(PREFIX)
    if not timm.is_model(name):
        raise UserError(f"--arch {name}: timm has no such network; leave timm out of --against")
    options: dict[str, Any] = {"aa_layer": layers.BlurPool2d} if task.blurpool else {}
    try:
        model: torch.nn.Module = timm.create_model(name, num_classes=CLASSES, **options)
    except TypeError as error:
        if "aa_layer" not in str(error):
            raise
        raise UserError(f"--blurpool on: timm's {name} has no aa_layer; pass --blurpool off") from None
    try:
        model.load_state_dict(first_weights(task.arch))
    except RuntimeError:
        raise UserError(
            f"--arch {name}: timm's network has other weights than torchvision's; pass --arch {PREFIX}{name}"
        ) from None
    return model


def open_side(task: StepTask) -> Training:
    """timm's step for the task."""
    torch.set_num_threads(task.cores)
    return Training(_Timm(task), task)
