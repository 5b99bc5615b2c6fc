"""Runs weights.pth, a state_dict, in torchvision's network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray


def load(folder: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """The model of `folder`: a batch as preprocessing.json describes it -> logits (n, classes)."""
    asked = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
    model = torchvision.models.get_model(
        asked["arch"], weights=None, num_classes=asked["num_classes"], **asked["arguments"]
    )
    model.load_state_dict(torch.load(folder / "weights.pth", weights_only=True), strict=True)
    model.eval()

    @torch.inference_mode()
    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = model(torch.from_numpy(batch)).numpy()
        return logits

    return run
