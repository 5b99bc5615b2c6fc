"""ONNX, by PyTorch's exporter over torch.export; with --int8 quantised by ONNX Runtime.

The preprocessing is a graph of its own, joined in front of the network's, so that only the network is quantised.
"""

import copy
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.errors import UserError
from engine.export.exported_network import cannot_export, exported_program, plain_network
from engine.export.in_graph import InGraph
from engine.export.target import TARGETS, Settings, Target
from engine.files import atomic_write
from engine.predict.trained import Trained
from engine.runs.model_card import CARD_KEY

DEFAULT_OPSET = 18
"""What the exporter writes by itself; another one is converted to."""
OPSETS = range(18, 24)
INPUT, OUTPUT = "images", "logits"
_PREPARED, _BETWEEN = "prepared", "network_input"


class OnnxFile(Target):
    """model.onnx: input `images`, output `logits`."""

    title, file, code = "ONNX", "model.onnx", "run_onnxruntime"
    requirements = ("onnxruntime",)
    options = ("with_preprocessing", "int8", "opset", "dynamic")
    extra, modules = "export", ("onnx", "onnxruntime", "onnxscript")

    def check(self, trained: Trained, settings: Settings) -> None:
        if settings.opset and settings.opset not in OPSETS:
            raise UserError(f"--opset {settings.opset}: give {OPSETS[0]} to {OPSETS[-1]}")

    def write(self, trained: Trained, settings: Settings, folder: Path) -> None:
        network = network_graph(trained, settings)
        before = preprocessing_graph(trained, settings) if settings.with_preprocessing else None
        if settings.int8:
            from engine.export.quantise import quantised

            assert settings.calibration is not None, "--int8 comes with calibration images"
            if settings.beside is not None:
                _save(joined(before, network, trained), settings.beside / self.file)
            network = quantised(network, network.graph.input[0].name, settings.calibration)
        _save(joined(before, network, trained), folder / self.file)


TARGETS.register("onnx")(OnnxFile())


def network_graph(trained: Trained, settings: Settings) -> Any:
    """The network as onnx.ModelProto. Raises UserError where it can't be exported."""
    first = _BETWEEN if settings.with_preprocessing else INPUT
    return _graph(plain_network(trained), trained, settings, (first, OUTPUT), with_preprocessing=False)


def preprocessing_graph(trained: Trained, settings: Settings) -> Any:
    """What stands before the network, as onnx.ModelProto."""
    before = InGraph(trained.card.preprocessing).eval()
    return _graph(before, trained, settings, (INPUT, _PREPARED), with_preprocessing=True)


def joined(before: Any | None, network: Any, trained: Trained) -> Any:
    """One onnx.ModelProto of the two, with the network's card in its metadata."""
    onnx: Any = importlib.import_module("onnx")
    model = copy.deepcopy(network)
    if before is not None:
        before = onnx.compose.add_prefix(before, "preprocessing_", rename_inputs=False, rename_outputs=False)
        # Quantising adds domains of ONNX Runtime to the network's, and joining takes equal ones only.
        before.ir_version = model.ir_version
        del before.opset_import[:]
        before.opset_import.extend(model.opset_import)
        model = onnx.compose.merge_models(before, model, io_map=[(_PREPARED, _BETWEEN)])
    onnx.helper.set_model_props(model, {CARD_KEY: trained.card.to_text()})
    model.producer_name = "imagenet-engine"
    onnx.checker.check_model(model)
    return model


def _save(model: Any, path: Path) -> None:
    with atomic_write(path) as file:
        file.write(model.SerializeToString())


def _graph(
    network: nn.Module,
    trained: Trained,
    settings: Settings,
    names: tuple[str, str],
    *,
    with_preprocessing: bool,
) -> Any:
    """onnx.ModelProto of a network, with these names of its input and output; the first dimension is `n`."""
    program = exported_program(network, trained, settings, with_preprocessing=with_preprocessing)
    try:
        with _silent():
            written = torch.onnx.export(
                program,
                (),
                dynamo=True,
                input_names=[names[0]],
                output_names=[names[1]],
                opset_version=settings.opset or DEFAULT_OPSET,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(cannot_export(trained, "torch.onnx", error)) from None
    assert written is not None
    return written.model_proto


@contextmanager
def _silent() -> Iterator[None]:
    """The exporter prints its steps, and warns of its own parts."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
