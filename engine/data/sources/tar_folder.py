"""A tar of an image folder, `[any/]train/<class>/<name>.jpg` and `val/...`, read where it lies."""

from dataclasses import dataclass, field

import numpy as np

from engine.config.write import SourceConfig
from engine.data.sources.access.image_names import Sieve, taken_extensions
from engine.data.sources.access.location import locate
from engine.data.sources.access.part_numbers import ADVICE, is_one_of_several
from engine.data.sources.access.tar_index import Member, TarReader, Window, members, places
from engine.data.sources.base import Source, SourceKind, Split, printable
from engine.data.sources.webdataset import is_webdataset
from engine.errors import UserError
from engine.progress import scanning

# The compressed ones to be refused in words that say so.
_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass
class _Found:
    """What lies below the split's folder, as far as the tar has been read."""

    sieve: Sieve
    images: list[tuple[str, Member]] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    """Folders."""

    def add(self, below: str, member: Member) -> None:
        """Takes in a file or folder, by its path below the split's folder, as what it would be unpacked."""
        below = below.lstrip("/")
        *folders, name = below.split("/")
        for depth, part in enumerate(folders):
            if part.startswith("."):
                # As in the unpacked folder: what lies in a hidden folder is not looked at.
                self.hidden.add("/".join(folders[: depth + 1]) + "/")
                return
            if depth == 0:
                self.classes.add(part)
        if not name or not self.sieve.takes(below):
            return
        if folders:
            self.images.append((below, member))
        else:
            self.sieve.loose.append(below)

    def notes(self, split: Split) -> tuple[str, ...]:
        """Those of the unpacked folder."""
        self.sieve.hidden += self.hidden
        for paths in (self.sieve.loose, self.sieve.skipped, self.sieve.hidden):
            paths.sort(key=_sorting)
        return self.sieve.notes(split)


def find(config: SourceConfig, split: Split) -> Source | None:
    """The split in the tar at `config.path`; None when it is no tar, or a WebDataset shard.

    Classes, labels, ids, order and notes are those of the unpacked folder. Raises UserError when the tar is damaged,
    cut short, or has no such split, or has a class without images in it.
    """
    tar = locate(config)
    if tar.kind() != "file" or not tar.name.endswith(_ENDINGS) or is_webdataset(tar):
        return None
    if config.check_counts and is_one_of_several(tar.name):
        raise UserError(
            f"{tar} is one of several tars by its name, and class folders are read from one: unpack them and pass "
            f"the folder, {ADVICE}"
        )
    name, other = config.train_folder, config.val_folder
    if split == "val":
        name, other = other, name
    window, inside = Window(tar), _Found(Sieve(taken_extensions(config)))
    with scanning(str(tar), window.file_size, "bytes") as progress:
        for member in members(window, folders=True):
            below = _below(member.name, name, other)
            if below is not None:
                inside.add(below, member)
            progress.reach(member.offset)
    found, classes = inside.images, sorted(inside.classes)
    if not classes:
        raise UserError(
            f"{tar} holds no images in {name}/<class>/: pass --source.{split}_folder=NAME, or pack it like that"
        )
    if len({below for below, _ in found}) < len(found):
        raise UserError(f"{tar} holds some images of {name}/ twice: pack them again")
    label_of = {one: label for label, one in enumerate(classes)}
    filled = {below.split("/")[0] for below, _ in found}
    empty = [(one, f"{printable(f'{name}/{one}')} of {tar}") for one in classes if one not in filled]
    inside.sieve.refuse_empty(empty, split, config)
    # As the unpacked folder is read: by class, in it files before folders, by name.
    found.sort(key=lambda one: _sorting(one[0]))
    return Source(
        kind="tar of an image folder",
        classes=classes,
        labels=np.array([label_of[below.split("/")[0]] for below, _ in found], np.int64),
        ids=[below for below, _ in found],
        places=places([member for _, member in found]),
        reader=TarReader(tar.parent, (tar.name,)),
        notes=inside.notes(split),
    )


KIND = SourceKind(
    name="tar",
    help="a .tar of class folders, train/<class>/ and val/<class>/",
    by_extension=True,
    find=find,
)


def _below(path: str, split: str, other: str) -> str | None:
    """The path below the split's folder; None for what lies elsewhere, so in a class of the `other` of this name."""
    parts = path.split("/")
    if split not in parts[:2] or (other and parts[0] == other != split):
        return None
    return "/".join(parts[parts.index(split) + 1 :])


def _sorting(path: str) -> tuple[tuple[bool, str], ...]:
    parts = path.split("/")
    return tuple((depth < len(parts) - 1, part) for depth, part in enumerate(parts))
