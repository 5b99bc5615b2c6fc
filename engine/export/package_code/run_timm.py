"""Runs model.safetensors with timm, which reads config.json beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray


def load(folder: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """The model of `folder`: a batch as preprocessing.json describes it -> logits (n, classes)."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()

    @torch.inference_mode()
    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = model(torch.from_numpy(batch)).numpy()
        return logits

    return run
