"""Where images come from: one file for each kind of source, chosen by what the path is.

A new kind is one file with `find(config, split) -> Source | None` and one line in `_KINDS`.
"""

from collections.abc import Callable

from engine.config.write import SourceConfig
from engine.data.sources import (
    flat_val,
    idx,
    ilsvrc_train_tar,
    image_folder,
    kaggle,
    map_style,
    parquet,
    tar_folder,
    webdataset,
)
from engine.data.sources.access.location import locate
from engine.data.sources.base import Source, Split
from engine.errors import UserError

__all__ = ["Source", "Split", "open_split"]

# Asked in this order, until one knows the path. Any other folder is an image folder.
_KINDS: tuple[Callable[[SourceConfig, Split], Source | None], ...] = (
    map_style.find,
    idx.find,
    kaggle.find,
    ilsvrc_train_tar.find,
    flat_val.find,
    tar_folder.find,
    webdataset.find,
    parquet.find,
)


def open_split(config: SourceConfig, split: Split) -> Source:
    """Scan one split of the data set at `config.path`; no image is read yet.

    Raises UserError when nothing is there, or nothing known here, and whatever that kind of source refuses: a class
    without images, a file that was cut short, labels that fit no class, ...
    """
    found = (find(config, split) for find in _KINDS)
    source = next((one for one in found if one is not None), None) or _image_folder(config, split)
    if split == "val":
        flat_val.refuse_unused_list(config, source)
    return source


def _image_folder(config: SourceConfig, split: Split) -> Source:
    path = locate(config)
    if path.kind() == "missing":
        raise UserError(f"source.path {path} does not exist: pass the folder or file of the data set")
    if path.kind() == "file":
        raise UserError(
            f"source.path {path} is no file known here: pass the data set's folder, its .tar or its .parquet files"
        )
    return image_folder.find(config, split)
