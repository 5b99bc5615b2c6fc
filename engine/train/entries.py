"""What the trainer writes down: the run's facts, an epoch's accuracy, the result. Keys are engine/report's."""

import resource
from typing import Any

import torch
from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.data.beton.pair import ClassList
from engine.train.evaluation.accuracy import Accuracy
from engine.train.ranks.group import Ranks
from engine.train.step.precision import Precision
from engine.train.verdict import Verdict


def accuracy_entry(accuracy: Accuracy | None) -> dict[str, float | None]:
    """The five figures of a validation, each null in an epoch without one."""
    if accuracy is None:
        return dict.fromkeys(("top1", "top5", "top1_no_tta", "top5_no_tta", "val_loss"))
    return {
        "top1": accuracy.top1,
        "top5": accuracy.top5,
        "top1_no_tta": accuracy.top1_no_tta,
        "top5_no_tta": accuracy.top5_no_tta,
        "val_loss": accuracy.loss,
    }


def average_entry(accuracy: Accuracy | None) -> dict[str, float | None]:
    """The same of the moving average of the weights, under keys that begin with ema_."""
    return {f"ema_{key}": value for key, value in accuracy_entry(accuracy).items()}


def facts_entry(
    config: TrainConfig, ranks: Ranks, precision: Precision, model: nn.Module, classes: ClassList
) -> dict[str, Any]:
    """What is known before the first step."""
    return {
        "device": ranks.device.type,
        "precision": precision.name,
        "world_size": ranks.world,
        "num_classes": classes.count,
        "classes_known": classes.names is not None,
        "arch": config.model.arch,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def result_entry(
    config: TrainConfig,
    accuracy: Accuracy,
    plain: Accuracy,
    verdict: Verdict,
    elapsed: float,
    weights: str | None,
    note: str,
) -> dict[str, Any]:
    """The result line: how accuracy was measured, what it was, and whether the promise was kept."""
    validation, budget = config.validation, config.budget
    return {
        **accuracy_entry(accuracy),
        "plain_top1": plain.top1_no_tta,
        "plain_top5": plain.top5_no_tta,
        "plain_resolution": validation.plain_resolution,
        "plain_ratio": validation.plain_ratio,
        "val_resolution": validation.resolution,
        "val_ratio": validation.ratio,
        "tta": validation.lr_tta,
        "num_val": accuracy.count,
        "elapsed_seconds": elapsed,
        "target_top1": budget.target_top1 or None,
        "budget_seconds": budget.minutes * 60 or None,
        "met": verdict.met,
        "verdict": verdict.sentence,
        "weights": weights,
        "weights_note": note,
    }


def memory_entry(device: torch.device) -> dict[str, float | None]:
    """Peak memory of this process so far, in MiB, on the host and on the GPU (null without one)."""
    on_device = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    return {
        "host_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "device_memory_mb": on_device,
    }
