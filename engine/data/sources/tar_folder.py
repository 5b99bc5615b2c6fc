"""A tar of an image folder, `[any/]train/<class>/<name>.jpg` and `val/...`, read where it lies."""

import numpy as np

from engine.config.write_schema import SourceConfig
from engine.data.sources.base import Source, Split
from engine.data.sources.image_folder import is_image
from engine.data.sources.location import locate
from engine.data.sources.scanning import Scanning
from engine.data.sources.tar import TarReader, Window, members, places
from engine.data.sources.webdataset import is_webdataset
from engine.errors import UserError

# The compressed ones to be refused in words that say so.
_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def find(config: SourceConfig, split: Split) -> Source | None:
    """The split in the tar at `config.path`; None when it is no tar, or a WebDataset shard.

    Classes, labels, ids and order are those of the unpacked folder. Raises UserError when the tar is damaged, cut
    short, or has no such split.
    """
    tar = locate(config)
    if tar.kind() != "file" or not tar.name.endswith(_ENDINGS) or is_webdataset(tar):
        return None
    name = config.train_folder if split == "train" else config.val_folder
    window = Window(tar)
    found = []
    with Scanning(str(tar), window.file_size, "bytes") as scanning:
        for member in members(window):
            below = _below(member.name, name)
            if below is not None:
                found.append((below, member))
            scanning.reached(member.offset)
    if not found:
        raise UserError(
            f"{tar} holds no images in {name}/<class>/: pass --source.{split}_folder=NAME, or pack it like that"
        )
    if len({below for below, _ in found}) < len(found):
        raise UserError(f"{tar} holds some images of {name}/ twice: pack them again")
    # As the unpacked folder is read: by class, in it files before folders, by name.
    found.sort(key=lambda one: _sorting(one[0]))
    classes = sorted({below.split("/")[0] for below, _ in found})
    label_of = {one: label for label, one in enumerate(classes)}
    return Source(
        kind="tar of an image folder",
        classes=classes,
        labels=np.array([label_of[below.split("/")[0]] for below, _ in found], np.int64),
        ids=[below for below, _ in found],
        places=places([member for _, member in found]),
        reader=TarReader(tar.parent, (tar.name,)),
    )


def _below(path: str, split: str) -> str | None:
    """An image's path below the split's folder; None for what is no image in a class folder of the split."""
    parts = path.split("/")
    if split not in parts[:2] or not is_image(path):
        return None
    below = parts[parts.index(split) + 1 :]
    return "/".join(below) if len(below) > 1 and not any(part.startswith(".") for part in below) else None


def _sorting(path: str) -> tuple[tuple[bool, str], ...]:
    parts = path.split("/")
    return tuple((depth < len(parts) - 1, part) for depth, part in enumerate(parts))
