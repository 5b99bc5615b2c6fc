"""What every source gives: classes, labels, ids, and a small reader that turns an id into pixels.

The lists stay in the parent process; a worker is sent a few ids and the reader, so that memory does not grow
with data set times workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "val"]


class Reader(Protocol):
    """Gets images by id. Small and picklable: it is sent to worker processes with every chunk."""

    def read(self, sample_id: str) -> NDArray[np.uint8]:
        """Pixels, RGB, uint8 of shape (height, width, 3). Raises UserError naming the image."""
        ...

    def where(self, sample_id: str) -> str:
        """The image's place, for messages."""
        ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """One split of a data set: what its images are and where they lie, not their pixels."""

    kind: str
    """Such as "image folder"."""
    classes: list[str]
    """Label -> class name."""
    labels: list[int]
    """Sample -> label."""
    ids: list[str]
    """Sample -> id, unique in the split: its path below the split's folder, or such as "train/00042"."""
    reader: Reader
    notes: tuple[str, ...] = ()
    """Lines the user should see, for example about files that were passed over."""

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> NDArray[np.uint8]:
        """Pixels of one sample, RGB, uint8 of shape (height, width, 3). Raises UserError naming the image."""
        return self.reader.read(self.ids[index])

    def where(self, index: int) -> str:
        """The sample's place, for messages."""
        return self.reader.where(self.ids[index])

    def select(self, indices: Sequence[int]) -> "Source":
        """The source with only these samples, in this order, and all its classes."""
        return replace(self, labels=[self.labels[i] for i in indices], ids=[self.ids[i] for i in indices])


def printable(name: object) -> str:
    """A path or name that is safe in a one-line message, whatever bytes a file's name holds."""
    text = str(name)
    return text if text.isprintable() else repr(text)
