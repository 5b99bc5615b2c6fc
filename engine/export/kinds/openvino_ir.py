"""OpenVINO's IR, converted from the ONNX model."""

import importlib
from pathlib import Path
from typing import Any

from engine.export.kinds.onnx_file import OnnxFile
from engine.export.target import TARGETS, Settings, Target
from engine.predict.trained import Trained


class OpenvinoIr(Target):
    """model.xml and model.bin."""

    title, file, code = "OpenVINO IR", "model.xml", "run_openvino"
    requirements = ("openvino",)
    options = ("with_preprocessing", "dynamic")
    extra, modules = "openvino", ("openvino", "onnx", "onnxscript")

    def write(self, trained: Trained, settings: Settings, folder: Path) -> None:
        openvino: Any = importlib.import_module("openvino")
        OnnxFile().write(trained, settings, folder)
        source = folder / OnnxFile.file
        # Half precision, its default, moves logits by 1e-3.
        openvino.save_model(openvino.convert_model(source), folder / self.file, compress_to_fp16=False)
        source.unlink()


TARGETS.register("openvino")(OpenvinoIr())
