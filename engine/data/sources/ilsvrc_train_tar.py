"""ILSVRC2012_img_train.tar as downloaded: a tar of 1,000 tars, one for each class, named after its WordNet id.

Nothing is unpacked: the headers of all tars are read once, each image's first byte and size are kept, and readers
go straight there. Classes, labels, ids and order are those of the unpacked `train/<class>/` folders.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.config.write import SourceConfig
from engine.data.sources.access.image_names import Sieve, taken_extensions
from engine.data.sources.access.location import Location, locate
from engine.data.sources.access.tar_index import Member, TarReader, Window, members, places
from engine.data.sources.base import Source, Split, printable
from engine.errors import UserError
from engine.progress import scanning

NAME = "ILSVRC2012_img_train.tar"

# From one class's tar to the next it is far: nothing is worth reading on the way.
_HEADER = 512


def find(config: SourceConfig, split: Split) -> Source | None:
    """The training split in such a tar, `config.path` itself or one of its official name in that folder.

    None when there is none. Raises UserError when it is damaged, cut short or holds what isn't a class's tar.
    """
    tar = _tar(config) if split == "train" else None
    if tar is None:
        return None
    ids: dict[str, list[str]] = {}
    found: dict[str, NDArray[np.void]] = {}
    sieve, window = Sieve(taken_extensions(config)), Window(tar)
    with scanning(str(tar), window.file_size, "bytes") as progress:
        for name, packed in _class_tars(tar, window):
            inner = sorted(members(window, packed.offset, packed.offset + packed.size, packed.name))
            images = [member for member in inner if sieve.takes(f"{name}/{member.name}")]
            twice = next((one for one, two in pairwise(images) if one.name == two.name), None)
            if twice is not None:
                raise UserError(
                    f"{printable(packed.name)} in {tar} holds {printable(twice.name)} twice: get it again"
                )
            # Names and numbers, class by class: a million Member objects would take hundreds of megabytes.
            ids[name] = [f"{name}/{member.name}" for member in images]
            found[name] = places(images)
            progress.reach(packed.offset + packed.size)
    classes = sorted(ids)
    empty = [name for name in classes if not ids[name]]
    if empty or not classes:
        what = f"class {printable(empty[0])} of {tar} has" if empty else f"{tar} has"
        raise UserError(f"{what} no images: get the tar again")
    return Source(
        kind="ILSVRC2012 tar",
        classes=classes,
        labels=np.repeat(np.arange(len(classes)), [len(ids[name]) for name in classes]),
        ids=[one for name in classes for one in ids[name]],
        places=np.concatenate([found[name] for name in classes]),
        reader=TarReader(tar.parent, (tar.name,)),
        notes=sieve.notes(split),
    )


def class_names(config: SourceConfig) -> list[str] | None:
    """The sorted classes of such a tar, from its outer headers alone; None when there is none."""
    tar = _tar(config)
    if tar is None:
        return None
    return sorted(name for name, _ in _class_tars(tar, Window(tar, _HEADER)))


def _tar(config: SourceConfig) -> Location | None:
    path = locate(config)
    kind = path.kind()
    if kind == "folder" and (path / NAME).kind() == "file":
        return path / NAME
    if kind != "file" or not path.name.endswith(".tar"):
        return None
    first = next(members(Window(path, _HEADER)), None)
    return path if first is not None and first.name.endswith(".tar") else None


def _class_tars(tar: Location, window: Window) -> Iterator[tuple[str, Member]]:
    """(class, its tar) in the order of the outer tar."""
    seen: set[str] = set()
    for member in members(window):
        name = member.name.rpartition("/")[2].removesuffix(".tar")
        if not member.name.endswith(".tar"):
            raise UserError(f"{tar} holds {printable(member.name)} among its class tars: get it again")
        if name in seen:
            raise UserError(f"{tar} holds class {printable(name)} twice: get it again")
        seen.add(name)
        yield name, member
