"""A tiny run with random weights, data of its classes, and ONNX models of it, which many tests look at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.__main__ import main as engine
from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from engine.export import proof
from engine.export.kinds.onnx_file import OnnxFile
from engine.export.proof import chosen, network_inputs
from engine.export.target import Settings
from engine.predict.trained import Trained, load_trained
from tests.data.conftest import jpeg_bytes, photo
from tests.predict.conftest import CLASSES, card, save_run

SIDES = ((32, 32), (47, 61), (90, 40), (33, 33), (50, 50), (50, 50))
"""Heights and widths of the images of each class."""

Export = Callable[..., int]


@pytest.fixture(scope="session", autouse=True)
def short_timing() -> Iterator[None]:
    """Speeds are measured in an instant: no test is about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "SECONDS", 0.001)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.beton and val.beton: JPEGs of odd sizes of three classes."""
    folder = tmp_path_factory.mktemp("export-data")
    for split, first in (("train", 0), ("val", 100)):
        for number, name in enumerate(CLASSES):
            (folder / "images" / split / name).mkdir(parents=True)
            for index, (height, width) in enumerate(SIDES):
                pixels = photo(height, width, first + 10 * number + index)
                (folder / "images" / split / name / f"{index}.jpg").write_bytes(jpeg_bytes(pixels))
    output = OutputConfig(folder=str(folder), num_workers=1, page_size=2)
    convert(WriteConfig(source=SourceConfig(path=str(folder / "images")), output=output))
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the three classes at 32 px, with BlurPool."""
    return save_run(tmp_path_factory.mktemp("export-run"), card())


@pytest.fixture(scope="session")
def trained(tiny: Path) -> Trained:
    return load_trained(tiny, device="cpu")


@pytest.fixture(scope="session")
def run_export(data: Path, tiny: Path) -> Export:
    """Runs the verb on the tiny run, or on `weights`, with the data; returns the exit code."""

    def run(to: str, output: Path, *more: str, weights: Path = tiny) -> int:
        files = ["--data", str(data / "val.beton"), "--train", str(data / "train.beton")]
        return engine(["export", str(weights), "--to", to, "--output", str(output), *files, *more])

    return run


@dataclass(frozen=True)
class Models:
    """Folders with a model.onnx that does the preprocessing too."""

    fp32: Path
    int8: Path


@pytest.fixture(scope="session")
def models(trained: Trained, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    found = Models(tmp_path_factory.mktemp("fp32"), tmp_path_factory.mktemp("int8"))
    train = open_beton(data / "train.beton")
    images = torch.cat([batch for _, batch in network_inputs(trained, train, chosen(train, 0))]).numpy()
    settings = Settings(
        with_preprocessing=True, int8=True, calibration=np.ascontiguousarray(images), beside=found.fp32
    )
    OnnxFile().write(trained, settings, found.int8)
    return found


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(0)
