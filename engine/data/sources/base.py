"""The interface of sources: classes, labels, ids, and a small reader that gets an image's content from its place.

The lists stay in the parent process; a worker is sent a few places and the reader, so that memory does not grow
with data set times workers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.config.write import SourceConfig
from engine.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

Split = Literal["train", "val"]

Content: TypeAlias = "bytes | NDArray[np.uint8] | Image.Image"
"""An image: the bytes of its file, whatever format that is in; an image of Pillow's, decoded or not; or pixels, uint8
of shape (height, width, 3) for RGB or (height, width) for gray. To all of them the same rules apply."""


class UnusableImageError(UserError):
    """This image can't be read, but the others of its source may: a rule says what is done."""

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind
        """The option of RulesConfig."""


class Reader(Protocol):
    """Gets images by place. Small and picklable: it is sent to worker processes with every chunk."""

    def read(self, place: Any) -> Content:
        """The image's content, not looked into. Raises UnusableImageError when this image can't be read, UserError
        when the source can't."""
        ...

    def where(self, place: Any) -> str:
        """The image's place in words, for messages."""
        ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """One split of a data set: the labels, ids and places of its images, without their content."""

    kind: str
    """Such as "image folder"."""
    classes: list[str]
    """Label -> class name."""
    labels: Sequence[int] | NDArray[np.int64]
    """Sample -> label."""
    ids: Sequence[str]
    """Sample -> id, unique in the split: its path below the split's folder, or such as "train/00042"."""
    places: Sequence[Any] | NDArray[Any]
    """Sample -> what its reader needs to find it: a path, an offset and size, ... Small, sliced and pickled."""
    reader: Reader
    notes: tuple[str, ...] = ()
    """Lines the user should see, for example about files that were ignored."""

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> Content:
        """The content of one sample. Raises UserError as its reader does."""
        return self.reader.read(self.places[index])

    def where(self, index: int) -> str:
        """The sample's place in words, for messages."""
        return self.reader.where(self.places[index])

    def select(self, indices: Sequence[int] | NDArray[np.int64]) -> "Source":
        """The source with only these samples, in this order, and all its classes."""
        places = (
            self.places[np.asarray(indices, np.int64)]
            if isinstance(self.places, np.ndarray)
            else [self.places[i] for i in indices]
        )
        return replace(
            self,
            labels=np.asarray(self.labels, np.int64)[np.asarray(indices, np.int64)],
            ids=[self.ids[i] for i in indices],
            places=places,
        )


@dataclass(frozen=True, kw_only=True)
class SourceKind:
    """One kind of data set: a file in this folder, and a line in its `__init__.py`."""

    name: str
    """The value of `source.kind` that takes this kind without probing."""
    help: str
    """What `source.path` is then, in a few words: for messages."""
    find: "Callable[[SourceConfig, Split], Source | None]"
    """The split in the data set at `config.path`; None where that is of another kind.

    Raises UserError where it is of this kind and can't be used.
    """
    by_extension: bool = False
    """Whether files are told from images by their extensions, as `source.extensions` says."""
    otherwise: "Callable[[SourceConfig, Split], Source | None]" = lambda config, split: None
    """Asked after `find` where the kind was named: for a split that may also be of a kind that is probed later."""


def printable(name: object) -> str:
    """A path or name that is safe in a one-line message, whatever bytes a file's name holds."""
    text = str(name)
    return text if text.isprintable() else repr(text)
