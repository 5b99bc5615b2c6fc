"""NVIDIA DALI: file reader, decoder with a fused random crop, resize, flip; decoded on the CPU or by nvJPEG ("mixed").

In favour of the peer, as its ImageNet example and documentation have them: decoders.image_random_crop, which decodes
only the crop; mapped files; as many threads as cores; two batches ahead; normalising fused with the flip in
crop_mirror_normalize where batches end normalised. The reader draws from a buffer of 1,024 files and goes through all
of them, over and over, so an epoch of the benchmark continues where the last one ended.
"""

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack

from benchmarks.harness.images.exports import paths_and_labels
from benchmarks.sides.task import Task
from engine.data.loading.loader import MEAN, STD

# By name, so that type checks don't depend on what is installed.
dali: Any = importlib.import_module("nvidia.dali")
fn: Any = importlib.import_module("nvidia.dali.fn")
types: Any = importlib.import_module("nvidia.dali.types")

_BUFFER = 1024
_ASPECTS = [3 / 4, 4 / 3]
_DTYPES = {"float32": types.FLOAT, "float16": types.FLOAT16}


class _Dali:
    def __init__(self, task: Task, decoder: str) -> None:
        assert task.folder is not None
        self._task, self._decoder = task, decoder
        paths, self._labels = paths_and_labels(task.folder)
        self._paths = [str(path) for path in paths]
        self._pipeline: Any = None
        self._side = 0
        where = "nvJPEG" if decoder == "mixed" else "CPU"
        self.settings = (
            f"DALI {dali.__version__}, readers.file, decoders.image_random_crop ({where}), resize bilinear with "
            f"antialiasing, {task.cores} threads, two batches ahead, NHWC"
        )

    def epoch(self, number: int, batches: int, resolution: int) -> Iterator[NDArray[np.int64]]:
        if self._side != resolution:
            # The old one's threads and memory first.
            self._pipeline = None
            self._pipeline, self._side = self._open(resolution, shuffled=True), resolution
        return self._batches(self._pipeline, batches)

    def one_pass(self) -> Iterator[NDArray[np.int64]]:
        task = self._task
        batches = -(-task.num_samples // task.batch)
        left = task.num_samples
        # A reader in order, which begins again where the last batch goes beyond the end.
        for labels in self._batches(self._open(task.resolution, shuffled=False), batches):
            yield labels[:left]
            left -= len(labels)

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        side, ids = self._task.resolution, self._task.spread_ids(count)
        pipeline = self._pipe(batch=count)
        with pipeline:
            jpegs, labels = self._read(ids, shuffled=False)
            images = fn.decoders.image(jpegs, device=self._decoder, output_type=types.RGB)
            images = fn.resize(images, resize_shorter=side, interp_type=types.INTERP_LINEAR)
            pipeline.set_outputs(fn.crop(images, crop=(side, side)), labels)
        pipeline.build()
        images, labels = pipeline.run()
        pixels = from_dlpack(images.as_tensor()).cpu().numpy()
        return pixels.transpose(0, 3, 1, 2).astype(np.float32), np.array(labels.as_tensor(), np.int64).ravel()

    def _batches(self, pipeline: Any, batches: int) -> Iterator[NDArray[np.int64]]:
        for _ in range(batches):
            images, labels = pipeline.run()
            # A view of DALI's memory, valid until the next batch.
            from_dlpack(images.as_tensor())
            yield np.array(labels.as_tensor(), np.int64).ravel()

    def _open(self, side: int, *, shuffled: bool) -> Any:
        pipeline = self._pipe(batch=self._task.batch)
        with pipeline:
            jpegs, labels = self._read(np.arange(self._task.num_samples), shuffled)
            images = fn.decoders.image_random_crop(
                jpegs,
                device=self._decoder,
                output_type=types.RGB,
                random_area=list(self._task.scale),
                random_aspect_ratio=_ASPECTS,
                num_attempts=10,
            )
            images = fn.resize(images, size=(side, side), interp_type=types.INTERP_LINEAR)
            pipeline.set_outputs(self._finish(images), labels)
        pipeline.build()
        return pipeline

    def _finish(self, images: Any) -> Any:
        flip = fn.random.coin_flip(probability=0.5)
        if self._task.form == "host":
            return fn.flip(images, horizontal=flip)
        images = images.gpu() if self._task.device == "cuda" else images
        return fn.crop_mirror_normalize(
            images,
            dtype=_DTYPES[self._task.dtype],
            output_layout="HWC",
            mean=list(MEAN),
            std=list(STD),
            mirror=flip,
        )

    def _read(self, ids: NDArray[np.int64], shuffled: bool) -> Any:
        return fn.readers.file(
            files=[self._paths[sample] for sample in ids.tolist()],
            labels=[self._labels[sample] for sample in ids.tolist()],
            random_shuffle=shuffled,
            initial_fill=min(_BUFFER, len(ids)),
        )

    def _pipe(self, batch: int) -> Any:
        device = 0 if self._task.device == "cuda" else None
        return dali.Pipeline(
            batch_size=batch, num_threads=self._task.cores, device_id=device, prefetch_queue_depth=2, seed=0
        )


def open_side(task: Task, decoder: str) -> _Dali:
    """DALI on the task's files; `decoder`: cpu, or mixed for nvJPEG."""
    torch.set_num_threads(task.cores)
    return _Dali(task, decoder)
