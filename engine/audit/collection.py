"""Train and val as one collection of images, numbered continuously, train's first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.audit.classes import Labels, align
from engine.data.beton.reader import Beton


@dataclass(frozen=True, eq=False)
class Collection:
    """Image i is sample i of train, or sample i - train.num_samples of val."""

    train: Beton
    val: Beton
    labels: Labels
    """The labels of both files in a common numbering."""

    @classmethod
    def of(cls, train: Beton, val: Beton) -> "Collection":
        """The collection of two files."""
        return cls(train, val, align(train, val))

    @property
    def betons(self) -> tuple[Beton, Beton]:
        return self.train, self.val

    @property
    def size(self) -> int:
        """The number of images in both files."""
        return self.train.num_samples + self.val.num_samples

    def is_val(self, images: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each image is in val: bool, of the shape of `images`."""
        return images >= self.train.num_samples

    def label(self, images: NDArray[np.int64]) -> NDArray[np.int64]:
        """The images' labels, in the common numbering."""
        return np.concatenate([self.labels.train, self.labels.val])[images]

    def place(self, image: int) -> tuple[str, int]:
        """The split of an image, and its sample number there."""
        first_of_val = self.train.num_samples
        return ("val", image - first_of_val) if image >= first_of_val else ("train", image)

    def name(self, image: int) -> str:
        """A name such as "val 17 (cat/0017.jpg)"."""
        split, sample = self.place(image)
        source = self.source_id(image)
        return f"{split} {sample}" + (f" ({source})" if source else "")

    def source_id(self, image: int) -> str:
        """The image's source from the file's manifest; empty without a manifest."""
        split, sample = self.place(image)
        manifest = (self.val if split == "val" else self.train).manifest
        return manifest.ids[sample] if manifest else ""

    def class_name(self, image: int) -> str:
        """The name of the image's label."""
        return self.labels.names[int(self.label(np.array([image]))[0])]
