"""Runs model.mlpackage with Core ML, which exists on macOS only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray


def load(folder: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """The model of `folder`: a batch as preprocessing.json describes it -> logits (n, classes)."""
    model = coremltools.models.MLModel(str(folder / "model.mlpackage"))
    return lambda batch: model.predict({"images": batch})["logits"]
