"""SPDL: its pipeline of threads over its FFmpeg functions, which release the GIL; crop and resize in FFmpeg's filter.

In favour of the peer, as its documentation recommends: a batch is one task of the pipeline, decoded image by image in
one thread, so that as many batches are in work as there are cores; frames of a batch are converted to one buffer
together, already of the output's size; bilinear. SPDL has no random crop: its crops are those of
benchmarks.sides.peer_crops. It needs FFmpeg's libraries on the system (Debian: ffmpeg).
"""

import importlib
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness.images.exports import paths_and_labels
from benchmarks.sides.peer_crops import CropLaw
from benchmarks.sides.task import Task
from benchmarks.sides.torch_batches import Finish, one_thread

# By name, so that type checks don't depend on what is installed.
spdl_io: Any = importlib.import_module("spdl.io")
spdl_pipeline: Any = importlib.import_module("spdl.pipeline")

_AHEAD = 3


class _Spdl:
    def __init__(self, task: Task) -> None:
        assert task.folder is not None
        one_thread()
        self._task, self._finish = task, Finish(task)
        paths, labels = paths_and_labels(task.folder)
        self._paths, self._labels = [str(path) for path in paths], np.array(labels, np.int64)
        self.settings = (
            f"spdl-io {version('spdl-io')}, PipelineBuilder with {task.cores} threads, FFmpeg filters crop and scale "
            f"(bilinear), {_AHEAD} batches ahead, {self._finish.words}, NHWC"
        )

    def epoch(self, number: int, batches: int, resolution: int) -> Iterator[NDArray[np.int64]]:
        ids = np.random.default_rng(number).permutation(self._task.epoch_ids(batches))
        return self._batches(list(ids.reshape(batches, -1)), number, resolution)

    def one_pass(self) -> Iterator[NDArray[np.int64]]:
        task = self._task
        ids = np.random.default_rng(0).permutation(task.num_samples)
        starts = range(0, len(ids), task.batch)
        return self._batches([ids[start : start + task.batch] for start in starts], 0, task.resolution)

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        ids = self._task.spread_ids(count)
        pixels = self._decode(ids, CropLaw(self._task, None), self._task.resolution)
        return pixels.transpose(0, 3, 1, 2).astype(np.float32), self._labels[ids]

    def _batches(
        self, batches: Sequence[NDArray[np.int64]], number: int, side: int
    ) -> Iterator[NDArray[np.int64]]:
        law = CropLaw(self._task, number)

        def decode(ids: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
            return self._decode(ids, law, side), self._labels[ids]

        pipeline = (
            spdl_pipeline.PipelineBuilder()
            .add_source(batches)
            .pipe(decode, concurrency=self._task.cores)
            .add_sink(_AHEAD)
            .build(num_threads=self._task.cores)
        )
        with pipeline.auto_stop():
            for pixels, labels in pipeline.get_iterator():
                self._finish(torch.from_numpy(pixels).permute(0, 3, 1, 2))
                yield labels

    def _decode(self, ids: NDArray[np.int64], law: CropLaw, side: int) -> NDArray[np.uint8]:
        """uint8 (n, side, side, 3)."""
        frames = []
        for sample in ids.tolist():
            packets = spdl_io.demux_image(self._paths[sample])
            crop = law(sample, packets.codec.height, packets.codec.width)
            # exact: FFmpeg would else move the crop to where chroma begins.
            filters = [
                f"crop={crop.width}:{crop.height}:{crop.left}:{crop.top}:exact=1",
                f"scale={side}:{side}:flags=bilinear",
                *(["hflip"] if crop.flip else []),
                "format=pix_fmts=rgb24",
            ]
            frames.append(spdl_io.decode_packets(packets, filter_desc=",".join(filters)))
        return np.asarray(spdl_io.to_numpy(spdl_io.convert_frames(frames)))


def open_side(task: Task) -> _Spdl:
    """SPDL on the task's files."""
    return _Spdl(task)
