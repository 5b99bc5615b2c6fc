"""Accuracy, counted exactly: every validation sample once over all ranks, whole numbers added up.

With TTA the probabilities of an image and of its mirror image are averaged (not their logits). Everything
is also counted without TTA from the same forward pass.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from engine.data.loader import Batch
from engine.errors import UserError
from engine.train.distributed import Ranks
from engine.train.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Shares of the `count` samples; loss is the mean cross-entropy (with TTA where that is on), unsmoothed."""

    top1: float
    top5: float
    top1_no_tta: float
    top5_no_tta: float
    loss: float
    count: int


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    tta: bool,
    precision: Precision,
    ranks: Ranks,
    expected: int,
    left_out: Callable[[], int] = lambda: 0,
) -> Accuracy:
    """Run the model in eval mode over this rank's batches and add up over ranks.

    `left_out` says how many corrupt samples this rank's batches came without, once all have come. Raises UserError
    unless exactly `expected` samples were counted or left out.
    """
    # top1, top5, top1 without TTA, top5 without TTA, samples; and the summed loss
    counts = torch.zeros(5, dtype=torch.int64, device=ranks.device)
    loss = torch.zeros((), dtype=torch.float64, device=ranks.device)
    for batch, final, plain in predictions(model, batches, tta=tta, precision=precision):
        counts += torch.stack([*_correct(final, batch.labels), *_correct(plain, batch.labels), _size(batch)])
        loss += functional.nll_loss(final.clamp_min(1e-12).log(), batch.labels, reduction="sum")
    gone = torch.tensor([left_out()], device=ranks.device)
    top1, top5, top1_no_tta, top5_no_tta, count, missing = ranks.sum(torch.cat([counts, gone])).tolist()
    loss_sum = float(ranks.sum(loss))
    if count + missing != expected:
        raise UserError(f"validation counted {count} samples where {expected} were expected")
    return Accuracy(
        top1=top1 / count,
        top5=top5 / count,
        top1_no_tta=top1_no_tta / count,
        top5_no_tta=top5_no_tta / count,
        loss=loss_sum / count,
        count=count,
    )


@torch.inference_mode()
def predictions(
    model: nn.Module, batches: Iterable[Batch], *, tta: bool, precision: Precision
) -> Iterator[tuple[Batch, torch.Tensor, torch.Tensor]]:
    """Each batch with the model's probabilities (n, classes), float32: as measured (with TTA if so), and without TTA.

    The model is put into eval mode.
    """
    model.eval()
    for batch in batches:
        plain = _probabilities(model, batch.images, precision)
        final = plain
        if tta:
            final = (plain + _probabilities(model, batch.images.flip(3), precision)) / 2
        yield batch, final, plain


def _probabilities(model: nn.Module, images: torch.Tensor, precision: Precision) -> torch.Tensor:
    with precision.autocast():
        logits = model(images)
    return logits.float().softmax(1)


def _correct(probabilities: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    best = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices
    hits = best == labels[:, None]
    return hits[:, 0].sum(), hits.sum()


def _size(batch: Batch) -> torch.Tensor:
    return torch.tensor(len(batch.labels), device=batch.labels.device)
