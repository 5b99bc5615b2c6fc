"""Accuracy, counted exactly: every validation sample once over all ranks, whole numbers added up.

With TTA the probabilities of an image and of its mirror image are averaged (not their logits). Everything
is also counted without TTA from the same forward pass.

Numbers for each sample of a file, filled in by all ranks and then whole and in the same order on each of them.

What is made of them does not depend on how many ranks there were, as sums by rank would in their last digits.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from engine.data.loading.loader import Batch
from engine.data.sampling.order import samples_of
from engine.errors import UserError
from engine.train.ranks.group import Ranks
from engine.train.step.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Shares of the `count` samples; loss is the mean cross-entropy (with TTA where that is on), unsmoothed.

    Samples on which the network's outputs are not finite (`nonfinite` of them) count as wrong.
    """

    top1: float
    top5: float
    top1_no_tta: float
    top5_no_tta: float
    loss: float
    count: int
    nonfinite: int = 0

    @property
    def doubt(self) -> str:
        """What has to be said beside it, for a verdict; empty where all outputs were finite."""
        share = f"{self.nonfinite:,} of {self.count:,} images"
        return f"(outputs not finite on {share}, which count as wrong)" if self.nonfinite else ""


Prediction = tuple[Batch, torch.Tensor, torch.Tensor]
"""A batch and its probabilities (n, classes): as measured, and without TTA."""

Watch = Callable[[Batch, torch.Tensor, torch.Tensor], None]


class Counter:
    """Adds up a network's hits over all that it `take`s, on this rank; `accuracy` adds up over ranks."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.left_out = ranks, 0
        # top1, top5, top1 without TTA, top5 without TTA, outputs not finite, samples; and the summed loss
        self._counts = torch.zeros(6, dtype=torch.int64, device=ranks.device)
        self._loss = torch.zeros((), dtype=torch.float64, device=ranks.device)

    @torch.inference_mode()
    def take(self, predicted: Iterable[Prediction], watch: Watch | None = None) -> None:
        """Count them, and show each to `watch` as well."""
        for batch, final, plain in predicted:
            found = [*hits(final, batch.labels), *hits(plain, batch.labels), ~are_finite(final)]
            self._counts += torch.stack([*(one.sum() for one in found), _size(batch)])
            self._loss += functional.nll_loss(logarithms(final), batch.labels, reduction="sum")
            if watch:
                watch(batch, final, plain)

    def accuracy(self, expected: int) -> Accuracy:
        """Of all ranks' samples. Raises UserError unless `expected` samples were counted or `left_out` as corrupt."""
        gone = torch.tensor([self.left_out], device=self.ranks.device)
        sums = self.ranks.sum(torch.cat([self._counts, gone])).tolist()
        top1, top5, top1_no_tta, top5_no_tta, nonfinite, count, missing = sums
        loss = float(self.ranks.sum(self._loss.clone()))
        if count + missing != expected:
            raise UserError(f"validation counted {count} samples where {expected} were expected")
        return Accuracy(
            top1=top1 / count,
            top5=top5 / count,
            top1_no_tta=top1_no_tta / count,
            top5_no_tta=top5_no_tta / count,
            loss=loss / count,
            count=count,
            nonfinite=nonfinite,
        )


@torch.inference_mode()
def predictions(
    model: nn.Module, batches: Iterable[Batch], *, tta: bool, precision: Precision
) -> Iterator[Prediction]:
    """Each batch with the model's probabilities (n, classes), float32: as measured (with TTA if so), and without TTA.

    The model is put into eval mode.
    """
    model.eval()
    for batch in batches:
        plain = probabilities(model, batch.images, precision)
        final = plain
        if tta:
            final = (plain + probabilities(model, batch.images.flip(3), precision)) / 2
        yield batch, final, plain


def probabilities(model: nn.Module, images: torch.Tensor, precision: Precision) -> torch.Tensor:
    """What the model gives for images (n, 3, side, side), normalised: shape (n, classes), float32."""
    with precision.autocast():
        logits = model(images)
    return logits.float().softmax(1)


def hits(probabilities: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each sample whether its label is the likeliest class, and one of the five likeliest: bool (n,) each.

    Neither where the probabilities are not finite: of those torch takes the first NaN for the largest.
    """
    best = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices
    found = (best == labels[:, None]) & are_finite(probabilities)[:, None]
    return found[:, 0], found.any(1)


def are_finite(probabilities: torch.Tensor) -> torch.Tensor:
    """For each sample whether the network's outputs for it are finite: bool (n,)."""
    return probabilities.isfinite().all(1)


def logarithms(probabilities: torch.Tensor) -> torch.Tensor:
    """Natural ones, of the same shape; a probability of zero counts as 1e-12."""
    return probabilities.clamp_min(1e-12).log()


def _size(batch: Batch) -> torch.Tensor:
    return torch.tensor(len(batch.labels), device=batch.labels.device)


class BySample:
    """A row of `columns` numbers for each of `count` samples; a number is a float64, which holds whole ones exactly."""

    def __init__(self, count: int, columns: int, ranks: Ranks) -> None:
        self.ranks = ranks
        # The last column counts how often a sample was put here.
        self._rows = torch.zeros((count, columns + 1), dtype=torch.float64, device=ranks.device)

    def put(self, views: NDArray[np.int64], *columns: torch.Tensor) -> None:
        """Fill in samples of this rank's; each column has a number, or a bool, for each of the views."""
        rows = torch.stack(
            [*(column.double() for column in columns), torch.ones_like(columns[0].double())], 1
        )
        places = torch.from_numpy(samples_of(views)).to(self.ranks.device)
        self._rows.index_add_(0, places, rows)

    def gather(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The samples that any rank has filled in, ascending, and their rows: (n,) and (columns, n), on every rank.

        Raises UserError when one was filled in twice.
        """
        # Every rank but one adds zeros to a row, which leaves it as it is.
        rows = self.ranks.sum(self._rows.clone()).cpu().numpy()
        times = rows[:, -1]
        if (times > 1).any():
            raise UserError(f"validation met sample {int(times.argmax())} {times.max():.0f} times")
        known = np.flatnonzero(times)
        return known, rows[known, :-1].T.copy()
