"""ONNX models in ONNX Runtime: PyTorch's logits, images of any size and number, the package's example alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import torch

from engine.export import package
from engine.export.in_graph import InGraph
from engine.export.kinds.onnx_file import OnnxFile
from engine.export.target import Settings
from engine.predict.trained import Trained
from engine.runs.model_card import CARD_KEY, ModelCard
from tests.data.odd_files import jpeg
from tests.export.conftest import Models

BARE = """
import runpy, sys
allowed = {"onnxruntime", "numpy", "PIL"}
class Only:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "engine", "onnx", "cv2", "timm"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Only())
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def images(draw: np.random.Generator) -> list[np.ndarray]:
    return [
        draw.integers(0, 256, (n, h, w, 3)).astype(np.uint8)
        for n, h, w in ((1, 40, 33), (3, 90, 64), (5, 7, 200))
    ]


def test_onnx_model_with_preprocessing_gives_torchs_logits(
    models: Models, trained: Trained, draw: np.random.Generator
) -> None:
    run, before = OnnxFile().load(models.fp32), InGraph(trained.card.preprocessing)
    for batch in images(draw):
        with torch.inference_mode():
            expected = trained.model(before(torch.from_numpy(batch)))
        found = run(batch)
        assert found.shape == (len(batch), 3)
        assert np.abs(found - expected.numpy()).max() < 1e-4 * float(expected.abs().max() + 1)


def test_int8_model_is_smaller_close_and_not_the_same(models: Models, draw: np.random.Generator) -> None:
    plain, small = OnnxFile().load(models.fp32), OnnxFile().load(models.int8)
    sizes = [(folder / "model.onnx").stat().st_size for folder in (models.int8, models.fp32)]
    assert sizes[0] < 0.5 * sizes[1]
    for batch in images(draw):
        one, other = plain(batch), small(batch)
        assert 0 < np.abs(one - other).max() < 0.5 * np.abs(one).max()


def test_preprocessing_is_not_quantised(models: Models) -> None:
    nodes = onnx.load(models.int8 / "model.onnx").graph.node
    assert any(node.op_type == "QuantizeLinear" for node in nodes)
    ours = [node for node in nodes if node.name.startswith("preprocessing_")]
    assert len(ours) > 20
    assert not any("Quantize" in node.op_type for node in ours)


def test_onnx_metadata_holds_the_card(models: Models, trained: Trained) -> None:
    for folder in (models.fp32, models.int8):
        found = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
        assert ModelCard.from_text(found[CARD_KEY]) == trained.card


def test_example_runs_without_torch_or_this_program(models: Models, trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    shutil.copytree(models.fp32, folder)
    asked = package.preprocessing_of(trained, Settings(with_preprocessing=True))
    package.write_preprocessing(folder, asked)
    package.write_labels(folder, trained)
    package.write_code(folder, OnnxFile())
    (tmp_path / "a b.jpg").write_bytes(jpeg(45, 80))
    done = subprocess.run(
        [sys.executable, "-c", BARE, str(folder / "example.py"), "a b.jpg", "--top-k", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    path, _, said = done.stdout.strip().partition(": ")
    best = OnnxFile().load(folder)(_pixels(tmp_path / "a b.jpg"))[0].argsort()[::-1]
    names = [row["name"] for row in json.loads((folder / "labels.json").read_text())]
    assert path == "a b.jpg"
    assert [one.split()[:2] for one in said.split(", ")] == [[str(k), names[k]] for k in best[:2]]


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))[None]
