"""A network's predictions for images, and the labels of the images."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Opinion:
    """A network's predictions for n images of a file."""

    ids: NDArray[np.int64]
    """(n,): sample numbers in the file."""
    labels: NDArray[np.int64]
    """(n,): labels in train's numbering."""
    log_probabilities: NDArray[np.float16]
    """(n, classes): natural logarithms."""
    left_out: tuple[str, ...] = ()
    """A line for each image that could not be decoded."""

    @property
    def classes(self) -> int:
        """Number of outputs of the network."""
        return self.log_probabilities.shape[1]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image, int64 (n,)."""
        return self.log_probabilities.argmax(axis=1)

    def reordered(self, meaning: NDArray[np.int64]) -> "Opinion":
        """The same with output l taken from output meaning[l]."""
        return replace(self, log_probabilities=self.log_probabilities[:, meaning])

    def relabelled(self, meaning: NDArray[np.int64]) -> "Opinion":
        """The same with label meaning[l] instead of l."""
        return replace(self, labels=meaning[self.labels])
