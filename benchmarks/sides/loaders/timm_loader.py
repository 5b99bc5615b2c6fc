"""timm's create_loader as its train.py calls it, without augmentation beyond crop and flip.

In favour of the peer: its prefetcher (use_prefetcher, the default), so that workers hand over uint8 and normalising is
done on the batch; bilinear instead of a kernel drawn for each image; as many persistent workers as cores.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.sides.task import Task
from benchmarks.sides.torch_batches import one_thread

# By name: its packages don't mark what they export.
timm: Any = importlib.import_module("timm")
timm_data: Any = importlib.import_module("timm.data")


class _Timm:
    def __init__(self, task: Task) -> None:
        one_thread()
        self._task = task
        self._loader: Any = None
        self._made: tuple[int, int] | None = None
        self.settings = (
            f"timm {timm.__version__}'s create_loader with its prefetcher, {task.cores} persistent workers, PIL, "
            "bilinear, NCHW"
            + (", uint8 as the workers give them" if task.form == "host" else ", normalised by it")
        )

    def epoch(self, number: int, batches: int, resolution: int) -> Iterator[torch.Tensor]:
        if self._made != (batches, resolution):
            ids = self._task.epoch_ids(batches)
            self._loader = self._open(ids, resolution, scale=self._task.scale, is_training=True)
            self._made = (batches, resolution)
        return self._labels(self._loader)

    def one_pass(self) -> Iterator[torch.Tensor]:
        # Not as in training, where it drops the last images of an epoch.
        ids = np.arange(self._task.num_samples)
        return self._labels(self._open(ids, self._task.resolution, crop_pct=1.0))

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        task = self._task
        loader = self._open(task.spread_ids(count), task.resolution, batch=count, crop_pct=1.0)
        ((images, labels),) = loader.loader
        return images.numpy().astype(np.float32), labels.numpy()

    def _labels(self, loader: Any) -> Iterator[torch.Tensor]:
        # Inside the prefetcher is the loader whose batches are uint8 in host memory.
        for _images, labels in loader.loader if self._task.form == "host" else loader:
            yield labels

    def _open(self, ids: NDArray[np.int64], side: int, batch: int | None = None, **how: Any) -> Any:
        task = self._task
        images = timm_data.ImageDataset(str(task.folder))
        # Sample number -> (file, label as the folder's name says it), whatever order timm lists them in.
        listed = {int(Path(path).stem): path for path, _ in images.reader.samples}
        root = Path(images.reader.root)
        images.reader.samples = [
            (listed[sample], int((root / listed[sample]).parent.name)) for sample in ids.tolist()
        ]
        return timm_data.create_loader(
            images,
            input_size=(3, side, side),
            batch_size=batch or task.batch,
            interpolation="bilinear",
            color_jitter=0.0,
            num_workers=task.cores,
            pin_memory=task.device == "cuda",
            device=torch.device(task.device),
            img_dtype=getattr(torch, task.dtype),
            **how,
        )


def open_side(task: Task) -> _Timm:
    """timm's loader on the task's files."""
    return _Timm(task)
