"""Kaggle's ImageNet as unzipped: `ILSVRC/Data/CLS-LOC/{train/<class>/, val/}` and LOC_val_solution.csv above it.

The path may be the folder above ILSVRC, ILSVRC itself, Data or CLS-LOC. What lies in CLS-LOC is an image folder
with a flat validation folder and is read as such.
"""

from dataclasses import replace

from engine.config.write import SourceConfig
from engine.data.sources import flat_val, image_folder
from engine.data.sources.access.label_list import KAGGLE
from engine.data.sources.access.location import Location, locate
from engine.data.sources.base import Source, SourceKind, Split

_PARTS = ("ILSVRC", "Data", "CLS-LOC")


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
    inside = replace(config, path=images.url)
    return flat_val.find(inside, split) or image_folder.find(inside, split)


KIND = SourceKind(
    name="kaggle",
    help="the folder ILSVRC of Kaggle's ImageNet, or one above or inside it",
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
