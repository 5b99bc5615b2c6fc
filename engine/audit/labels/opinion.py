"""What a network says of some images, and under which labels they are filed."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Opinion:
    """The network's view of some images of one file; arrays have an entry (or row) for each."""

    ids: NDArray[np.int64]
    """Which samples of the file."""
    labels: NDArray[np.int64]
    """Their labels, in train's numbering."""
    log_probabilities: NDArray[np.float16]
    """(n, classes): natural logarithms."""
    left_out: tuple[str, ...] = ()
    """A line for each image that could not be decoded."""

    @property
    def classes(self) -> int:
        """Outputs of the network."""
        return self.log_probabilities.shape[1]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each."""
        return self.log_probabilities.argmax(axis=1)

    def reordered(self, meaning: NDArray[np.int64]) -> "Opinion":
        """With output l being what was output meaning[l]."""
        return replace(self, log_probabilities=self.log_probabilities[:, meaning])

    def relabelled(self, meaning: NDArray[np.int64]) -> "Opinion":
        """With label meaning[l] where it was l."""
        return replace(self, labels=meaning[self.labels])
