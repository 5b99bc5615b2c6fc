"""What a run makes of classes of very different sizes: the weight of each in the loss, and a warning."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.config.train.train_config import TrainConfig
from engine.data.sampling.balance import class_places
from engine.train.evaluation.accuracy import UNEVEN

_MUCH = 20
"""Factor between the images of the largest and the smallest class from which doing nothing is worth a warning."""


def class_weights(config: TrainConfig, counts: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """The weight of each class in the loss, (classes,), with mean 1 over the images trained on; None where all are 1.

    By how often a class is trained on: with data.balance that is no longer its number of images. inverse: one divided
    by that. effective: (1 - beta) / (1 - beta^n), as of Cui et al. 2019, formula 4. `counts` are the classes' images.
    """
    law, beta = config.loss.class_weights, config.loss.effective_beta
    if law == "none":
        return None
    places = class_places(counts, config.data.balance).astype(np.float64)
    known = np.maximum(places, 1)
    weights = 1 / known if law == "inverse" else (1 - beta) / -np.expm1(known * np.log(beta))
    # A class without images is never a target.
    weights = np.where(places > 0, weights, 0)
    return (weights * places.sum() / (weights * places).sum()).astype(np.float32)


def uneven_sizes(counts: NDArray[np.int64]) -> list[int] | None:
    """The images of each class, for the log; None where their sizes are similar."""
    known = counts[counts > 0]
    return counts.tolist() if known.max() > UNEVEN * known.min() else None


def imbalance_warning(config: TrainConfig, counts: NDArray[np.int64], names: Sequence[str] | None) -> str:
    """A line where classes differ much in size and nothing was chosen for it; else empty."""
    chosen = config.data.balance != "none" or config.loss.class_weights != "none"
    known = np.flatnonzero(counts)
    small, large = known[counts[known].argmin()], known[counts[known].argmax()]
    if chosen or counts[large] <= _MUCH * counts[small]:
        return ""

    def of(label: int) -> str:
        return f"{counts[label]:,} of {names[label] if names else f'label {label}'}"

    return (
        f"warning: classes differ in size by more than {_MUCH} times: {of(int(large))}, {of(int(small))} training "
        "images; the small ones may hardly be learnt: try --data.balance=sqrt (use their images more often) or "
        "--loss.class_weights=effective, and judge by the mean of the classes' top-1"
    )
