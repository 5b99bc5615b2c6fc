"""The sides of the predict stage: the classes of a folder's images by one network, written as a table to a file.

In favour of the peer: bilinear instead of the bicubic of most of timm's networks, channels_last (on a CPU the faster
order), persistent workers, and a plain file instead of pandas' tables.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine.predict.output import as_csv
from engine.predict.predictor import Predictor
from engine.predict.trained import load_trained
from engine.runs.model_card import Preprocessing

TOP = 5
RATIO = 0.875


@dataclass(frozen=True, kw_only=True)
class PredictTask:
    """The same for both sides."""

    weights: Path
    """A file of ours, with its card."""
    network: str
    """timm's name."""
    batch: int
    cores: int
    """Of each side: for its decoding, and for torch's own threads."""
    output: Path
    """Where the table is written."""


class PredictingSide(Protocol):
    """A side with its network ready."""

    settings: str

    def predict(self, images: Sequence[Path]) -> None:
        """Write the likeliest classes of each image to the task's output, one a line."""
        ...

    def pixels(self, images: Sequence[Path]) -> NDArray[np.uint8]:
        """The network's input before it is normalised: (n, side, side, 3)."""
        ...


class _Ours:
    def __init__(self, task: PredictTask) -> None:
        self._task = task
        self._predictor = Predictor(load_trained(task.weights, device="cpu"), workers=task.cores)
        self.settings = f"engine.predict.predictor.Predictor, {task.cores} decoding threads, channels_last"

    def predict(self, images: Sequence[Path]) -> None:
        with self._task.output.open("w", encoding="utf-8") as file:
            for one in self._predictor.predict_batch(images, self._task.batch, TOP):
                print(as_csv(one, TOP, features=False), file=file)

    def pixels(self, images: Sequence[Path]) -> NDArray[np.uint8]:
        return np.stack([self._predictor.preprocessor().image(path) for path in images])


def ours(task: PredictTask) -> PredictingSide:
    """What `python -m engine predict --csv` runs."""
    return _Ours(task)


class _Timm:
    def __init__(self, task: PredictTask) -> None:
        # By name: its packages don't mark what they export.
        self._timm: Any = importlib.import_module("timm")
        self._data: Any = importlib.import_module("timm.data")
        trained = load_trained(task.weights, device="cpu")
        self._expected: Preprocessing = trained.card.preprocessing
        model = self._timm.create_model(task.network, num_classes=trained.card.num_classes)
        model.load_state_dict(trained.model.state_dict())
        self._model = model.eval().to(memory_format=torch.channels_last)
        self._task = task
        self._made: tuple[Sequence[Path], Any] | None = None
        self.settings = (
            f"the loop of timm {self._timm.__version__}'s inference.py: create_loader with its prefetcher, "
            f"{task.cores} persistent workers, PIL, bilinear; channels_last"
        )

    def predict(self, images: Sequence[Path]) -> None:
        if self._made is None or self._made[0] != images:
            self._made = images, self._open(images)
        loader = self._made[1]
        names = iter(images)
        with torch.inference_mode(), self._task.output.open("w", encoding="utf-8") as file:
            for batch, _ in loader:
                shares = self._model(batch.contiguous(memory_format=torch.channels_last)).softmax(-1)
                values, indices = shares.topk(TOP)
                for share, index in zip(values.tolist(), indices.tolist(), strict=True):
                    print(next(names), *index, *(f"{one:.6g}" for one in share), sep=",", file=file)

    def pixels(self, images: Sequence[Path]) -> NDArray[np.uint8]:
        # Inside the prefetcher is the loader whose batches are uint8.
        batches = [batch for batch, _ in self._open(images).loader]
        return torch.cat(batches).permute(0, 2, 3, 1).contiguous().numpy()

    def _open(self, images: Sequence[Path]) -> Any:
        asked = self._expected
        # One folder: its images in the order of their names.
        dataset = self._data.ImageDataset(str(images[0].parent.parent))
        if len(dataset) > len(images):
            dataset.reader.samples = dataset.reader.samples[: len(images)]
        side = asked.resolution
        return self._data.create_loader(
            dataset,
            input_size=(3, side, side),
            batch_size=self._task.batch,
            is_training=False,
            use_prefetcher=True,
            interpolation="bilinear",
            mean=tuple(asked.mean),
            std=tuple(asked.std),
            crop_pct=asked.ratio,
            num_workers=self._task.cores,
            device=torch.device("cpu"),
        )


def timm(task: PredictTask) -> PredictingSide:
    """timm's inference.py, which its wheel lacks: the same loop over the same loader."""
    return _Timm(task)
