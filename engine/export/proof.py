"""The proof of a package: what it predicts for validation images, from image files on, beside what the network did.

Before: the network in PyTorch on the engine's own pixels, as validation measures it, in fp32 and without TTA. After:
the package's code and model on whole images, decoded by Pillow, as its users run it.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.beton.bulk_reader import RecordReader
from engine.data.beton.manifest import check_same_classes
from engine.data.beton.reader import Beton
from engine.data.edit.extract import pixels_of
from engine.data.loading.loader import Loader
from engine.data.sampling.crops import centre_crop
from engine.data.sampling.order import samples_of
from engine.data.storage.formats import of_mode
from engine.errors import UserError
from engine.export.package_code.example import prepare, read
from engine.export.target import Runtime
from engine.limits import usable_cores
from engine.predict.trained import Trained
from engine.progress import Progress
from engine.train.evaluation.accuracy import hits

_BATCH = 32
_SEED = 0
# The same input is given to both only for so many images: it takes a further pass of the package.
_SAME_INPUT = 512
ROUNDS, SECONDS = 5, 0.2
"""Of the timing: alternating rounds, and how long each side has in one."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds for a batch, medians of alternating rounds on this machine's CPU."""

    images: int
    """In the batch."""
    before: float
    """PyTorch, eager, the network alone."""
    after: float
    """The package's model, with its preprocessing where that is inside."""
    fp32: float | None = None
    """Of int8: the same model before it was quantised."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was measured. Counts are of the `images` that were tried, of `of` in the file."""

    images: int
    of: int
    top1_before: int
    top1_after: int
    top5_before: int
    top5_after: int
    agreeing: int
    """Images of which both have the same likeliest class."""
    logit_difference: float
    """The largest."""
    logit_scale: float
    """Standard deviation of the network's logits, to compare with."""
    same_input: bool
    """Whether the difference is that of the models alone, on the same input; else preprocessing is part of it."""
    speeds: list[Speed]

    @property
    def lost_points(self) -> float:
        """By how many points top-1 fell; below 0 it rose."""
        return 100 * (self.top1_before - self.top1_after) / self.images

    def share(self, count: int) -> str:
        """Such as "67.84%"."""
        return f"{count / self.images:.2%}"

    def to_json(self) -> dict[str, Any]:
        """For proof.json."""
        return asdict(self) | {"lost_points": self.lost_points, "agreement": self.agreeing / self.images}


def prove(
    trained: Trained,
    run: Runtime,
    asked: dict[str, Any],
    beton: Beton,
    count: int,
    fp32: Runtime | None = None,
) -> Proof:
    """Measure the package on `count` images of `beton` (0: all); `asked` is its preprocessing.json.

    `fp32` is its model before it was quantised, to be timed too. Raises UserError for data of other classes, and for
    an image that can't be decoded.
    """
    labels, ids = labels_by_output(trained, beton), chosen(beton, count)
    table = np.zeros((5, len(ids)), np.int64)
    largest, scale, done = 0.0, [], 0
    in_model = bool(asked["in_model"])
    with Progress("proof", len(ids)) as progress, ThreadPoolExecutor(usable_cores()) as pool:
        for samples, images in network_inputs(trained, beton, ids):
            logits = reference(trained, images)
            inputs = pool.map(partial(_input, beton, asked), samples.tolist())
            theirs = torch.from_numpy(np.concatenate([run(one) for one in _together(inputs)]))
            truth = torch.from_numpy(labels[samples])
            rows = [*hits(logits, truth), *hits(theirs, truth), logits.argmax(1) == theirs.argmax(1)]
            table[:, done : done + len(samples)] = torch.stack(rows).numpy()
            if in_model:
                largest = max(largest, _difference(logits, theirs))
            elif done < _SAME_INPUT:
                again = torch.from_numpy(run(np.ascontiguousarray(images.numpy())))
                largest = max(largest, _difference(logits, again))
            scale.append(float(logits.std()))
            done += len(samples)
            progress.update(len(samples))
        example = next(_together(map(partial(_input, beton, asked), ids[:1].tolist())))
    sums = table.sum(1).tolist()
    return Proof(
        images=len(ids),
        of=beton.num_samples,
        top1_before=sums[0],
        top5_before=sums[1],
        top1_after=sums[2],
        top5_after=sums[3],
        agreeing=sums[4],
        logit_difference=largest,
        logit_scale=statistics.fmean(scale),
        same_input=not in_model,
        speeds=[_speed(trained, run, fp32, example, batch) for batch in (1, _BATCH)],
    )


def labels_by_output(trained: Trained, beton: Beton) -> NDArray[np.int64]:
    """The label of each image as a number of the network's outputs: by class name, where both are named.

    Raises UserError for data with classes that the network does not have.
    """
    outputs = trained.card.classes
    if outputs is None or beton.manifest is None:
        largest = int(beton.labels.max(initial=0))
        if largest >= trained.card.num_classes:
            raise UserError(
                f"{beton.path} has labels up to {largest}, and the network {trained.card.num_classes} outputs: give "
                "data of its classes with --data"
            )
        return np.asarray(beton.labels, np.int64)
    number_of = {name: number for number, name in enumerate(outputs)}
    if not set(beton.manifest.classes) <= set(number_of):
        try:
            check_same_classes(outputs, beton.manifest.classes, str(beton.path), ("the weights", "the data"))
        except UserError as error:
            raise UserError(f"{error}; give data of the same classes with --data") from None
    order = np.array([number_of[name] for name in beton.manifest.classes], np.int64)
    return order[np.asarray(beton.labels, np.int64)]


def chosen(beton: Beton, count: int) -> NDArray[np.int64]:
    """`count` samples of the file in order, drawn at random by a fixed seed; 0: all of them."""
    if not count or count >= beton.num_samples:
        return np.arange(beton.num_samples, dtype=np.int64)
    return np.sort(np.random.default_rng(_SEED).permutation(beton.num_samples)[:count]).astype(np.int64)


def network_inputs(
    trained: Trained, beton: Beton, ids: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], torch.Tensor]]:
    """Samples (n,) and the network's input for them, float32 (n, 3, side, side), as validation prepares it."""
    asked = trained.card.preprocessing
    crop = centre_crop(asked.crop_law, asked.resolution, asked.ratio)
    batches = [ids[at : at + _BATCH] for at in range(0, len(ids), _BATCH)]
    device = torch.device("cpu")
    with (
        Loader(beton, device=device, workers=usable_cores(), in_memory=False) as loader,
        closing(loader.batches(batches, asked.resolution, crop)) as arriving,
    ):
        for batch in arriving:
            yield samples_of(batch.ids), batch.images


@torch.inference_mode()
def reference(trained: Trained, images: torch.Tensor) -> torch.Tensor:
    """The network's logits in fp32."""
    logits: torch.Tensor = trained.model(images)
    return logits.float()


def image_bytes(beton: Beton, sample: int) -> tuple[bytes, str]:
    """A sample's record, and ".jpg" where it is a JPEG file's content."""
    with RecordReader(beton) as reader:
        return reader.read(sample), of_mode(int(beton.images["mode"][sample])).suffix or ""


def _input(beton: Beton, asked: dict[str, Any], sample: int) -> NDArray[Any]:
    """The package's input for one image: decoded by its own code, where it is stored as a file."""
    record, suffix = image_bytes(beton, sample)
    pixels = read(BytesIO(record), asked) if suffix else pixels_of(beton, sample, record)
    return prepare(pixels, asked)


def _together(inputs: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Neighbours of equal shape as one batch."""
    for _, group in groupby(inputs, key=lambda one: one.shape):
        yield np.concatenate(list(group))


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def _speed(trained: Trained, run: Runtime, fp32: Runtime | None, example: NDArray[Any], batch: int) -> Speed:
    side = trained.card.preprocessing.resolution
    images = torch.zeros(batch, 3, side, side).to(memory_format=torch.channels_last)
    given = np.repeat(example, batch, axis=0)
    sides: list[Callable[[], object]] = [
        partial(reference, trained, images),
        *(partial(one, given) for one in (run, fp32) if one),
    ]
    before, after, *more = alternating(sides)
    return Speed(images=batch, before=before, after=after, fp32=more[0] if more else None)


def alternating(sides: Sequence[Callable[[], object]]) -> list[float]:
    """Median seconds of a call of each side, over ROUNDS in which each has its turn of about SECONDS."""
    calls = [max(1, round(SECONDS / min(_timed(side, 1) for _ in range(2)))) for side in sides]
    rows = [[_timed(side, count) for side, count in zip(sides, calls, strict=True)] for _ in range(ROUNDS)]
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def _timed(call: Callable[[], object], times: int) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begun) / times
