"""Runs model.onnx with ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray


def load(folder: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """The model of `folder`: a batch as preprocessing.json describes it -> logits (n, classes)."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]
