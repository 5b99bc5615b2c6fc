"""Runs model.safetensors with the program that trained it, whose checkout has to be on Python's path."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.predict.trained import load_trained
from engine.runs.folder import MODEL


def load(folder: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """The model of `folder`: a batch as preprocessing.json describes it -> logits (n, classes)."""
    model = load_trained(folder / MODEL, device="cpu").model

    @torch.inference_mode()
    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = model(torch.from_numpy(batch)).numpy()
        return logits

    return run
