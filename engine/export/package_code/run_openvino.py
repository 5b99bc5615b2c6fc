"""Runs model.xml with OpenVINO."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino  # type: ignore[import-untyped]
from numpy.typing import NDArray


def load(folder: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """The model of `folder`: a batch as preprocessing.json describes it -> logits (n, classes)."""
    model = openvino.compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda batch: model(batch)[0]
