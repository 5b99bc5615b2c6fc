"""Where images come from: one file for each kind of source, chosen by what the path is.

A new kind is one file with `find(config, split) -> Source | None` and one line in `_KINDS`.
"""

from collections.abc import Callable
from pathlib import Path

from engine.config.write_schema import SourceConfig
from engine.data.sources import idx, image_folder
from engine.data.sources.base import Source, Split
from engine.errors import UserError

__all__ = ["Source", "Split", "open_split"]

# Asked in this order; the last one takes any folder and says what is missing in it.
_KINDS: tuple[Callable[[SourceConfig, Split], Source | None], ...] = (idx.find, image_folder.find)


def open_split(config: SourceConfig, split: Split) -> Source:
    """Scan one split of the data set at `config.path`; no image is read yet.

    Raises UserError when the folder is missing, has no classes, has a class without images, and the like.
    """
    path = Path(config.path)
    if not path.exists():
        raise UserError(f"source.path {path} does not exist: pass the folder of the data set")
    if not path.is_dir():
        raise UserError(f"source.path {path} is not a folder: unpack it and pass the folder")
    for find in _KINDS:
        source = find(config, split)
        if source is not None:
            return source
    raise AssertionError("the last kind takes any folder")
