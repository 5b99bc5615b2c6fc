"""Static int8 quantisation by ONNX Runtime: ranges of the activations from training images.

QDQ form. Weights are int8 with a scale for each output channel, activations int8 with one for each tensor. uint8
activations take half the time on CPUs with AVX2 alone, but a small network on CIFAR-10 lost 1.3 points with them and
nothing with int8: their products with int8 weights probably overflow 16 bits there.
"""

import importlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CALIBRATION_IMAGES = 256
_BATCH = 16


class _Images:
    """ONNX Runtime's CalibrationDataReader over an array."""

    def __init__(self, name: str, images: NDArray[np.float32]) -> None:
        self._batches = iter([{name: images[at : at + _BATCH]} for at in range(0, len(images), _BATCH)])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch; None at the end."""
        return next(self._batches, None)


def quantised(model: Any, name: str, images: NDArray[np.float32]) -> Any:
    """The onnx.ModelProto with int8 weights and activations; `images` are float32 for its input `name`."""
    onnx: Any = importlib.import_module("onnx")
    quantization: Any = importlib.import_module("onnxruntime.quantization")
    shapes: Any = importlib.import_module("onnxruntime.quantization.shape_inference")
    # Its functions take and write files.
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, out = (Path(folder) / f"{part}.onnx" for part in ("plain", "prepared", "int8"))
        onnx.save(model, plain)
        shapes.quant_pre_process(plain, prepared)
        quantization.quantize_static(
            prepared,
            out,
            _Images(name, images),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return onnx.load(out)
