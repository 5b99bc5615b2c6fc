"""What a network says of every image of a file, in one reading by the engine's loader."""

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.data.beton.reader import Beton
from engine.data.loading.loader import MEAN, STD, Loader
from engine.data.sampling.crops import centre_crop
from engine.errors import UserError
from engine.limits import usable_cores
from engine.progress import Progress
from engine.runs.model_card import Preprocessing
from engine.train.evaluation.accuracy import are_finite, hits, logarithms, predictions
from engine.train.evaluation.class_statistics import NO_CLASS, Outcomes
from engine.train.step.compiling import Forward
from engine.train.step.precision import choose_precision

if TYPE_CHECKING:
    from engine.predict.trained import Trained

TOP = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """The network's predictions for n images of a file; classes are numbers of its outputs."""

    samples: NDArray[np.int64]
    """(n,): their numbers in the file, ascending."""
    outcomes: Outcomes
    top: NDArray[np.int64]
    """(n, k): the likeliest classes, the likeliest first; k is 5 or all classes."""
    shares: NDArray[np.float64]
    """(n, k): their probabilities; not finite where the network's outputs are not."""
    left_out: tuple[str, ...] = ()
    """A line for each image that could not be decoded."""

    @property
    def top1(self) -> float:
        """The share of right predictions."""
        return float(self.outcomes.right.mean())

    @property
    def balanced(self) -> float:
        """The mean of the classes' top-1, of those that have images (balanced accuracy)."""
        images = np.bincount(self.outcomes.labels)
        right = np.bincount(self.outcomes.labels, self.outcomes.right)
        return float((right[images > 0] / images[images > 0]).mean())


def judge(trained: "Trained", beton: Beton, meaning: NDArray[np.int64], *, batch_size: int = 128) -> Judged:
    """Every image of `beton` under the network's own preprocessing, without TTA; `meaning` maps labels to outputs.

    Images that can't be decoded are left out. Raises UserError where that is so of all of them, and for a file that
    can't be read.
    """
    device = trained.device
    precision, wanted = choose_precision("auto", device), trained.card.preprocessing
    batches = np.split(np.arange(beton.num_samples), range(batch_size, beton.num_samples, batch_size))
    loader = Loader(
        beton,
        device=device,
        dtype=precision.input_dtype,
        workers=usable_cores(),
        in_memory=False,
        corrupt="skip",
    )
    parts: list[tuple[NDArray[Any], ...]] = []
    crop = centre_crop(wanted.crop_law, wanted.resolution, wanted.ratio)
    with loader, Progress(f"validating on {beton.path.name}", beton.num_samples) as progress:
        with closing(loader.batches(batches, wanted.resolution, crop)) as arriving:
            told = predictions(_forward(trained.model, wanted), arriving, tta=False, precision=precision)
            with torch.inference_mode():
                for batch, probabilities, _ in told:
                    labels = torch.from_numpy(meaning).to(device)[batch.labels]
                    parts.append((batch.ids, *_judged(probabilities, labels)))
                    progress.update(len(batch.ids))
        left_out = tuple(loader.new_skips())
    if not sum(len(part[0]) for part in parts):
        raise UserError(f"{beton.path}: no image can be decoded: convert it again")
    return _joined(parts, left_out)


def _forward(model: nn.Module, wanted: Preprocessing) -> Forward:
    """The pass over batches as the loader normalises them, for a network that expects other levels too."""
    mean, std = (255 * np.array(levels) for levels in (wanted.mean, wanted.std))
    if np.allclose(mean, MEAN) and np.allclose(std, STD):
        return model
    weight = next(model.parameters())
    scale, shift = (
        torch.from_numpy(values).to(weight)[:, None, None] for values in (STD / std, (MEAN - mean) / std)
    )
    return lambda images: model(images * scale.to(images) + shift.to(images))


def _judged(probabilities: torch.Tensor, labels: torch.Tensor) -> tuple[NDArray[Any], ...]:
    """Of a batch: labels, in-top-5, losses, classes and shares of the likeliest, on the host."""
    shares, top = probabilities.topk(min(TOP, probabilities.shape[1]), dim=1)
    losses = -logarithms(probabilities).gather(1, labels[:, None])[:, 0]
    finite = are_finite(probabilities)
    return tuple(
        one.cpu().numpy() for one in (labels, hits(probabilities, labels)[1], losses, finite, top, shares)
    )


def _joined(parts: list[tuple[NDArray[Any], ...]], left_out: tuple[str, ...]) -> Judged:
    samples, labels, in_top5, losses, finite, top, shares = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    outcomes = Outcomes(
        labels=labels,
        predicted=np.where(finite, top[:, 0], NO_CLASS),
        in_top5=in_top5,
        confidence=shares[:, 0],
        losses=losses,
    )
    return Judged(samples=samples, outcomes=outcomes, top=top, shares=shares, left_out=left_out)
