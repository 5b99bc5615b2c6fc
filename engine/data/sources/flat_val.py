"""Validation images without class folders, in one folder or in ILSVRC2012_img_val.tar, with a list of their classes.

Class names and so labels are those of the training split, whatever form that is in.
"""

from dataclasses import dataclass, replace
from typing import Any

from engine.config.write import SourceConfig
from engine.data.sources import ilsvrc_train_tar, image_folder
from engine.data.sources.access.image_names import Sieve, is_image, taken_extensions
from engine.data.sources.access.label_list import KNOWN_NAMES, find_label_list
from engine.data.sources.access.location import Location, locate
from engine.data.sources.access.tar_index import TarReader, Window, members, places
from engine.data.sources.base import Reader, Source, SourceKind, Split
from engine.errors import UserError
from engine.progress import scanning

TAR = "ILSVRC2012_img_val.tar"

# The folder in val/ of Tiny-ImageNet.
_INNER = "images"

_TAR_KIND, _FOLDER_KIND = "ILSVRC2012 tar", "flat folder"


@dataclass(frozen=True)
class _Images:
    """Flat images before their labels are known."""

    kind: str
    where: Location
    names: list[str]
    places: Any
    reader: Reader
    sieve: Sieve
    """What was left out."""


def find(config: SourceConfig, split: Split) -> Source | None:
    """The flat validation split at `config.path`, or beside it where it is the training tar; None where there is none.

    Raises UserError when there is no list of its classes, or one that doesn't fit its images and train's classes.
    """
    if split != "val":
        return None
    path = locate(config)
    if path.kind() != "file":
        return _flat(path, config)
    if ilsvrc_train_tar.class_names(config) is None:
        return None
    return _flat(path.parent, config) or image_folder.find(replace(config, path=path.parent.url), split)


def _find_official(config: SourceConfig, split: Split) -> Source | None:
    return ilsvrc_train_tar.find(config, split) if split == "train" else find(config, split)


KIND = SourceKind(
    name="ilsvrc",
    help="ILSVRC2012's tars, or class folders for train and flat images with a list of classes for val",
    by_extension=True,
    find=_find_official,
    # Either split may have been unpacked into class folders.
    otherwise=image_folder.find_folder,
)


def refuse_unused_list(config: SourceConfig, val: Source) -> None:
    """Raises UserError for a list of classes, `config.val_labels`, of a validation split that needs none."""
    if not config.val_labels or val.kind in (_TAR_KIND, _FOLDER_KIND):
        return
    what = "class folders" if "image folder" in val.kind else f"labels of its own ({val.kind})"
    raise UserError(f"source.val_labels: val has {what}: drop the option")


def _flat(base: Location, config: SourceConfig) -> Source | None:
    taken = taken_extensions(config)
    images, beside = _tar_images(base / TAR, taken), [base]
    if images is None and config.val_folder:
        folder = base / config.val_folder
        images = _folder_images(folder, taken) or _nested_images(folder, base / config.train_folder, taken)
    if images is None:
        return None
    if images.kind == _FOLDER_KIND:
        # The folder itself and those between it and the path.
        parts = images.where.path.removeprefix(base.path).strip("/").split("/")
        beside = [base / "/".join(parts[:count]) for count in range(len(parts), 0, -1)] + beside
    # Above a bucket or a disk's root there is nothing to look into.
    if base.parent.name:
        beside.append(base.parent)
    listed = find_label_list(config, images.where, beside)
    classes = ilsvrc_train_tar.class_names(config)
    if classes is None:
        classes = image_folder.class_names(config)
    return Source(
        kind=images.kind,
        classes=classes,
        labels=listed.labels(images.names, classes),
        ids=images.names,
        places=images.places,
        reader=images.reader,
        notes=(*listed.notes(images.names, check=config.check_counts), *images.sieve.notes("val")),
    )


def _tar_images(tar: Location, taken: tuple[str, ...]) -> _Images | None:
    if tar.kind() != "file":
        return None
    window, sieve = Window(tar), Sieve(taken)
    found = []
    with scanning(str(tar), window.file_size, "bytes") as progress:
        for member in members(window):
            if sieve.takes(member.name):
                found.append(member)
            progress.reach(member.offset)
    if not found:
        raise UserError(f"{tar} holds no images: get it again")
    found.sort()
    return _Images(
        kind=_TAR_KIND,
        where=tar,
        names=[member.name for member in found],
        places=places(found),
        reader=TarReader(tar.parent, (tar.name,)),
        sieve=sieve,
    )


def _folder_images(folder: Location, taken: tuple[str, ...]) -> _Images | None:
    """The images of a folder that has no folders in it, None where there are some or no images."""
    if folder.kind() != "folder":
        return None
    sieve, names = Sieve(taken), []
    for entry in sorted(entry for entry in folder.entries() if entry.name not in KNOWN_NAMES):
        is_hidden = entry.name[0] == "."
        if entry.is_folder and not is_hidden:
            return None
        if entry.is_folder:
            sieve.hidden.append(f"{entry.name}/")
        elif entry.is_broken and not is_hidden and not is_image(entry.name, taken):
            sieve.broken.append(entry.name)
        elif sieve.takes(entry.name):
            names.append(entry.name)
    if not names:
        return None
    return _Images(
        kind=_FOLDER_KIND,
        where=folder,
        names=names,
        places=names,
        reader=image_folder.FolderReader(folder),
        sieve=sieve,
    )


def _nested_images(folder: Location, train: Location, taken: tuple[str, ...]) -> _Images | None:
    """Those of its folder `images`, where that is flat, the only one and no class of train; else None."""
    if folder.kind() != "folder" or (train / _INNER).kind() == "folder":
        return None
    entries = [entry for entry in folder.entries() if entry.is_folder and entry.name not in KNOWN_NAMES]
    folders = [entry.name for entry in entries if entry.name[0] != "."]
    return _folder_images(folder / _INNER, taken) if folders == [_INNER] else None
