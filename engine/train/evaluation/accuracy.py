"""Accuracy, counted exactly: every validation sample once over all ranks, as sums of whole numbers.

With TTA the probabilities (not the logits) of an image and its mirror image are averaged. Everything is also counted
without TTA from the same forward pass.

Also BySample, a table with a row for each sample that all ranks fill in. Figures made from it do not depend on the
number of ranks, unlike sums over ranks, whose last digits do.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from engine.data.loading.loader import Batch
from engine.data.sampling.order import samples_of
from engine.devices import exact, where_exact
from engine.errors import UserError
from engine.train.augment.augmentation import upload
from engine.train.ranks.group import Ranks
from engine.train.step.compiling import Forward
from engine.train.step.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Shares of the `count` samples; `loss` is the mean cross-entropy without smoothing (with TTA if that is on).

    The `nonfinite` samples with outputs that are not finite count as wrong. `mean_class_top1` is the mean of the
    classes' top-1, where the largest class has more than UNEVEN times the samples of the smallest; else None.
    """

    top1: float
    top5: float
    top1_no_tta: float
    top5_no_tta: float
    loss: float
    count: int
    nonfinite: int = 0
    mean_class_top1: float | None = None

    @property
    def doubt(self) -> str:
        """A remark for the verdict; empty if all outputs were finite and the classes have similar sizes."""
        remarks = []
        if self.mean_class_top1 is not None:
            remarks.append(
                f"{self.mean_class_top1:.2%} in the mean over classes, which are of very different sizes"
            )
        if self.nonfinite:
            share = f"{self.nonfinite:,} of {self.count:,} images"
            remarks.append(f"outputs not finite on {share}, which count as wrong")
        return f"({'; '.join(remarks)})" if remarks else ""


UNEVEN = 5
"""Factor between the sizes of the largest and the smallest class above which top-1 says little of the small ones."""

Prediction = tuple[Batch, torch.Tensor, torch.Tensor]
"""A batch and its probabilities (n, classes), as measured and without TTA; its labels lie where these do."""

Watch = Callable[[Batch, torch.Tensor, torch.Tensor], None]


class Counter:
    """Counts a network's hits on this rank; `accuracy` sums over all ranks. All labels are below `classes`."""

    def __init__(self, ranks: Ranks, classes: int) -> None:
        self.ranks, self.left_out = ranks, 0
        there = where_exact(ranks.device)
        # samples and hits of each class
        self._by_class = torch.zeros((2, classes), dtype=torch.int64, device=there)
        # top1, top5, top1 without TTA, top5 without TTA, outputs not finite, samples; and the summed loss
        self._counts = torch.zeros(6, dtype=torch.int64, device=there)
        self._loss = torch.zeros((), dtype=torch.float64, device=there)

    @torch.inference_mode()
    def take(self, predicted: Iterable[Prediction], watch: Watch | None = None) -> None:
        """Count these predictions, and pass each to `watch`."""
        for batch, final, plain in predicted:
            found = [*hits(final, batch.labels), *hits(plain, batch.labels), ~are_finite(final)]
            self._counts += torch.stack([*(one.sum() for one in found), _size(batch)])
            self._by_class.index_add_(
                1, batch.labels, torch.stack([torch.ones_like(batch.labels), found[0].long()])
            )
            self._loss += functional.nll_loss(logarithms(final), batch.labels, reduction="sum")
            if watch:
                watch(batch, final, plain)

    def accuracy(self, expected: int) -> Accuracy:
        """The accuracy over all ranks. Raises UserError unless `expected` samples were counted or left out."""
        gone = torch.tensor([self.left_out], device=self._counts.device)
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
            mean_class_top1=_mean_over_classes(*self.ranks.sum(self._by_class.clone()).cpu()),
        )


def _mean_over_classes(samples: torch.Tensor, right: torch.Tensor) -> float | None:
    """The mean top-1 of the classes that have samples; None if their sizes are similar. Both are int64 (classes,)."""
    known = samples > 0
    samples, right = samples[known], right[known]
    if samples.max() <= UNEVEN * samples.min():
        return None
    return float((right.double() / samples).mean())


@torch.inference_mode()
def predictions(
    forward: Forward, batches: Iterable[Batch], *, tta: bool, precision: Precision
) -> Iterator[Prediction]:
    """Each batch with a network's probabilities, float64 (n, classes): with TTA if asked for, and without.

    They and the labels are on the device, or on the CPU where the device has no float64. `forward` is the pass over a
    network in eval mode, or that network.
    """
    for batch in batches:
        plain = probabilities(forward, batch.images, precision)
        final = plain
        if tta:
            final = (plain + probabilities(forward, batch.images.flip(3), precision)) / 2
        yield replace(batch, labels=batch.labels.to(final.device)), final, plain


def probabilities(forward: Forward, images: torch.Tensor, precision: Precision) -> torch.Tensor:
    """The network's probabilities for normalised images (n, 3, side, side): float64 (n, classes).

    In float32 the smallest ones would be 0, and the loss on them unknown.
    """
    with precision.autocast():
        logits = forward(images)
    return exact(logits).softmax(1)


def hits(probabilities: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each sample whether its label is the most likely class, and one of the five most likely: bool (n,) each.

    Both are False if the probabilities are not finite: torch.topk treats NaN as the largest.
    """
    best = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices
    found = (best == labels[:, None]) & are_finite(probabilities)[:, None]
    return found[:, 0], found.any(1)


def are_finite(probabilities: torch.Tensor) -> torch.Tensor:
    """For each sample whether the network's outputs are finite: bool (n,)."""
    return probabilities.isfinite().all(1)


def logarithms(probabilities: torch.Tensor) -> torch.Tensor:
    """Natural logarithms of float64 probabilities, of the same shape; one below 1e-300 counts as that (691 nats)."""
    return probabilities.clamp_min(1e-300).log()


def _size(batch: Batch) -> torch.Tensor:
    # Made on the device: a copy from the host would wait for it.
    return torch.full((), len(batch.labels), dtype=torch.int64, device=batch.labels.device)


class BySample:
    """A row of `columns` float64 numbers for each of `count` samples."""

    def __init__(self, count: int, columns: int, ranks: Ranks) -> None:
        self.ranks = ranks
        # The last column counts how often a sample was put here.
        self._rows = torch.zeros((count, columns + 1), dtype=torch.float64, device=where_exact(ranks.device))

    def put(self, views: NDArray[np.int64], *columns: torch.Tensor) -> None:
        """Fill in samples of this rank; each column is a tensor (n,) of numbers or bools for the views (n,)."""
        rows = torch.stack(
            [*(column.double() for column in columns), torch.ones_like(columns[0].double())], 1
        )
        self._rows.index_add_(0, upload(samples_of(views), self._rows.device), rows)

    def gather(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The samples that any rank has filled in, ascending, (n,), and their numbers (columns, n), on every rank.

        Raises UserError when a sample was filled in twice.
        """
        # For each row all ranks but one add zeros, which keeps it exact.
        rows = self.ranks.sum(self._rows.clone()).cpu().numpy()
        times = rows[:, -1]
        if (times > 1).any():
            raise UserError(f"validation met sample {int(times.argmax())} {times.max():.0f} times")
        known = np.flatnonzero(times)
        return known, rows[known, :-1].T.copy()
