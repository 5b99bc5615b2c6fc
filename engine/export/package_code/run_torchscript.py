"""Runs model.ts with PyTorch."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def load(folder: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """The model of `folder`: a batch as preprocessing.json describes it -> logits (n, classes)."""
    with warnings.catch_warnings():
        # PyTorch 2.15 still runs TorchScript, and says that torch.export is its successor.
        warnings.simplefilter("ignore", FutureWarning)
        model = torch.jit.load(folder / "model.ts", map_location="cpu").eval()

    @torch.inference_mode()
    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = model(torch.from_numpy(batch)).numpy()
        return logits

    return run
