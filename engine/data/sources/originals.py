"""The image files that a .beton was made of, found again by their ids, as Pillow and torchvision prepare them.

What `torchvision.datasets.ImageFolder` with Resize, CenterCrop, ToTensor and Normalize gives, which is what most
programs that use a network give it: pixels to compare this engine's own with.
"""

import contextlib
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile

from engine.config.write import RulesConfig, SourceConfig
from engine.data.beton.manifest import Manifest
from engine.data.beton.reader import Beton
from engine.data.decode.library_warnings import library_warnings
from engine.data.decode.orientation import turned
from engine.data.sampling.crops import resized_side
from engine.data.sources import Source, open_split
from engine.data.sources.access.image_names import OTHER_EXTENSIONS
from engine.data.sources.access.size_bound import images_bounded
from engine.data.sources.base import Content
from engine.errors import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""torchvision's, of levels from 0 to 1."""

_OPTION = "validation.reference"
_RENAMED = {
    "--source.train_folder": f"--{_OPTION}_folder",
    "--source.val_folder": f"--{_OPTION}_folder",
    "source.path": _OPTION,
    "source.val_labels": f"{_OPTION}_labels",
}


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Where the images of a file are in its source."""

    numbers: NDArray[np.int64]
    """(samples,): sample of the file -> number in the source."""
    rejected: int
    """Images of the source that the conversion left out by its rules."""
    others: int
    """Further images of the source that the file does not hold, as with a subset of it."""


def open_source(path: str, folder: str, labels: str, beton: Beton) -> Source:
    """The split of the data set at `path` that `beton` holds. Raises UserError, in the words of section validation."""
    manifest = _manifest(beton)
    # As the conversion may have been asked to read it: what the file does not hold is left aside by `match`.
    others = {PurePath(name).suffix.lower() for name in manifest.ids} & set(OTHER_EXTENSIONS)
    config = SourceConfig(
        path=path,
        val_labels=labels,
        check_counts=False,
        val_classes="train",
        extensions=",".join(sorted(others)),
        image_column=str(manifest.settings.get("source.image_column", "")),
        label_column=str(manifest.settings.get("source.label_column", "")),
    )
    if folder and manifest.split == "train":
        config = replace(config, train_folder=folder)
    elif folder:
        config = replace(config, val_folder=folder)
    try:
        return open_split(config, "train" if manifest.split == "train" else "val")
    except UserError as error:
        message = str(error)
        for theirs, ours in _RENAMED.items():
            message = message.replace(theirs, ours)
        raise UserError(message if _OPTION in message else f"{_OPTION}: {message}") from None


def match(beton: Beton, source: Source, where: str) -> Matched:
    """Find each sample of the file by its id. Raises UserError where one is missing or is of another class there.

    Classes are compared by name: their numbers may differ. `where` is the source in words.
    """
    manifest = _manifest(beton)
    number_of = {name: number for number, name in enumerate(source.ids)}
    missing = [name for name in manifest.ids if name not in number_of]
    if missing:
        raise UserError(
            f"{_OPTION}: {len(missing):,} of the {beton.num_samples:,} images of {beton.path} are not in {where}, "
            f"such as {missing[0]}: give the data set that the file was made of"
        )
    numbers = np.array([number_of[name] for name in manifest.ids], np.int64)
    theirs = np.asarray(source.labels, np.int64)[numbers]
    pairs = np.unique(np.stack([beton.labels, theirs], axis=1), axis=0).tolist()
    for ours, other in pairs:
        if manifest.classes[ours] != source.classes[other]:
            sample = int(np.flatnonzero((beton.labels == ours) & (theirs == other))[0])
            raise UserError(
                f"{_OPTION}: {manifest.ids[sample]} is of class {manifest.classes[ours]!r} in {beton.path} and of "
                f"{source.classes[other]!r} in {where}: convert it again, or give the data set that it was made of"
            )
    rejected = len({name for name, *_ in manifest.rejects} & number_of.keys())
    return Matched(numbers=numbers, rejected=rejected, others=len(source) - len(numbers) - rejected)


class Originals:
    """Prepares images of `source` with `workers` threads; a context manager that owns them.

    Images are turned as EXIF says, and damaged ones read as far as they go, where the conversion's rules say so.
    """

    def __init__(self, beton: Beton, source: Source, where: str, workers: int) -> None:
        self.matched = match(beton, source, where)
        self._source, rules = source, _manifest(beton).rules
        self._upright = rules.get("exif") == "apply"
        self._owned = contextlib.ExitStack()
        self._bounds = RulesConfig(
            oversized=rules.get("oversized", RulesConfig.oversized),
            max_megabytes=int(rules.get("max_megabytes", RulesConfig.max_megabytes)),
        )
        if rules.get("damaged") == "repair":
            self._owned.callback(setattr, ImageFile, "LOAD_TRUNCATED_IMAGES", ImageFile.LOAD_TRUNCATED_IMAGES)
            ImageFile.LOAD_TRUNCATED_IMAGES = True
        self._pool = self._owned.enter_context(ThreadPoolExecutor(workers))

    def images(self, samples: NDArray[np.int64], resolution: int, ratio: float) -> torch.Tensor:
        """The file's samples as Resize and CenterCrop leave them: uint8 (n, 3, resolution, resolution).

        Raises UserError for an image that Pillow can't read.
        """
        numbers = self.matched.numbers[samples].tolist()
        # The conversion has told of them.
        with library_warnings(), images_bounded(self._bounds):
            prepared = list(self._pool.map(lambda number: self._prepare(number, resolution, ratio), numbers))
        return torch.stack(prepared)

    def _prepare(self, number: int, resolution: int, ratio: float) -> torch.Tensor:
        # Needed by this option alone.
        from torchvision.transforms import functional

        image = self._open(self._source.read(number), self._source.where(number))
        # Antialiased always, as Pillow's own.
        small = functional.resize(image, [resized_side(resolution, ratio)])
        return functional.pil_to_tensor(functional.center_crop(small, [resolution, resolution]))

    def _open(self, content: Content, where: str) -> Image.Image:
        """As ImageFolder's loader."""
        if isinstance(content, np.ndarray):
            return Image.fromarray(content).convert("RGB")
        try:
            image = content if isinstance(content, Image.Image) else Image.open(io.BytesIO(content))
            image.load()
            return (turned(image) if self._upright else image).convert("RGB")
        # Pillow's decoders raise whatever a damaged file drives them into.
        except Exception as error:  # noqa: BLE001
            said = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{_OPTION}: {where} can't be read by Pillow: {said}") from None

    def close(self) -> None:
        """End the threads."""
        self._owned.close()

    def __enter__(self) -> "Originals":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def normalised(images: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Levels (n, 3, side, side), uint8, as ToTensor and Normalize make them, in float32, then as `dtype`."""
    from torchvision.transforms import functional

    return functional.normalize(images.float().div_(255), list(MEAN), list(STD), inplace=True).to(dtype)


def _manifest(beton: Beton) -> Manifest:
    if beton.manifest is None:
        raise UserError(
            f"{_OPTION}: {beton.path} does not say which images it was made of: convert with write_dataset.py"
        )
    return beton.manifest
