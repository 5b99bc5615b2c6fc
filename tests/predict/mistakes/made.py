"""Predictions as `judge` returns them, made by hand."""

from collections.abc import Sequence

import numpy as np

from engine.predict.mistakes.judged import Judged
from engine.train.evaluation.class_statistics import NO_CLASS, Outcomes


def made(
    labels: Sequence[int] | np.ndarray,
    predicted: Sequence[int] | np.ndarray,
    *,
    losses: Sequence[float] | None = None,
    confidence: Sequence[float] | None = None,
    classes: int = 0,
) -> Judged:
    """Judged images 100, 101, ...: the predicted class is the likeliest, the next numbers follow it."""
    count = len(labels)
    outputs = classes or max(max(labels), max(predicted)) + 1
    first = np.maximum(np.array(predicted), 0)
    top = (first[:, None] + np.arange(min(5, outputs))) % outputs
    shares = np.array(confidence if confidence is not None else [0.6] * count)[:, None] * 0.5 ** np.arange(
        top.shape[1]
    )
    outcomes = Outcomes(
        labels=np.array(labels, np.int64),
        predicted=np.where(np.array(predicted) == NO_CLASS, NO_CLASS, first),
        in_top5=(top == np.array(labels)[:, None]).any(1),
        confidence=shares[:, 0],
        losses=np.array(losses if losses is not None else [1.0] * count),
    )
    return Judged(samples=np.arange(100, 100 + count), outcomes=outcomes, top=top, shares=shares)
