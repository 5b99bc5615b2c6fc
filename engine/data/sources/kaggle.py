"""Kaggle's ImageNet as unzipped: `ILSVRC/Data/CLS-LOC/{train/<class>/, val/}` and LOC_val_solution.csv above it.

The path may be the folder above ILSVRC, ILSVRC itself, Data or CLS-LOC. What lies in CLS-LOC is an image folder
with a flat validation folder and is read as such.
"""

import posixpath
from dataclasses import replace

from engine.config.write import SourceConfig
from engine.data.sources import flat_val, image_folder
from engine.data.sources.access.label_list import KAGGLE
from engine.data.sources.access.location import Location, locate
from engine.data.sources.access.part_numbers import ADVICE
from engine.data.sources.base import Source, SourceKind, Split, printable
from engine.errors import UserError

_PARTS = ("ILSVRC", "Data", "CLS-LOC")
_LISTS: dict[Split, str] = {
    "train": "ILSVRC/ImageSets/CLS-LOC/train_cls.txt",
    "val": "ILSVRC/ImageSets/CLS-LOC/val.txt",
}
"""All images of a split, with lines such as `n01440764/n01440764_10026 1`."""


def find(config: SourceConfig, split: Split) -> Source | None:
    """The split in Kaggle's tree at `config.path`, None when it is no such tree.

    Raises UserError as image folders and flat validation folders do.
    """
    path = locate(config)
    # Below a file there is nothing to ask a server for.
    images, top = (None, path) if path.kind() == "file" else _tree(path)
    if images is None:
        return None
    solution = top / KAGGLE
    if split == "val" and not config.val_labels and solution.kind() == "file":
        config = replace(config, val_labels=solution.url)
    listed = top / _LISTS[split]
    checked = config.check_counts and listed.kind() == "file"
    # Where there is Kaggle's own list of the images, it is what counts.
    inside = replace(config, path=images.url, check_counts=config.check_counts and not checked)
    source = flat_val.find(inside, split) or image_folder.find(inside, split)
    if checked:
        _refuse_missing(source, listed)
    return source


KIND = SourceKind(
    name="kaggle",
    help="the folder ILSVRC of Kaggle's ImageNet, or one above or inside it",
    by_extension=True,
    find=find,
)


def _tree(path: Location) -> tuple[Location | None, Location]:
    """The folder CLS-LOC, None where there is none, and the one above ILSVRC."""
    above = path
    for count, name in enumerate(_PARTS):
        if path.name == name:
            for _ in range(count + 1):
                above = above.parent
    images = above / "/".join(_PARTS)
    return (images if images.kind() == "folder" else None), above


def _refuse_missing(source: Source, listed: Location) -> None:
    """Raises UserError where Kaggle's list of the split's images has more than the source."""
    lines = listed.read().split(b"\n")
    if sum(bool(line.strip()) for line in lines) <= len(source):
        return
    names = (line.split()[0].decode("utf-8", "replace") for line in lines if line.strip())
    there = {posixpath.splitext(posixpath.basename(one))[0] for one in source.ids}
    missing = [name for name in names if posixpath.basename(name) not in there]
    if missing:
        raise UserError(
            f"{listed} lists {len(missing):,} images that are not there, such as {printable(missing[0])}: unzip again, "
            f"{ADVICE}"
        )
