"""Images in class folders: `<split>/<class>/**/<name>.jpg`, the layout of ImageNet and torchvision.

A label is the index of its class among the sorted class names. Files are taken in sorted order, at any depth
below the class folder. Everything that is left out is counted in a note: hidden names, and files without an image's
extension.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.config.write import SourceConfig
from engine.data.sources.access.image_names import (
    EXTENSIONS,
    OTHER_EXTENSIONS,
    Sieve,
    is_image,
    taken_extensions,
)
from engine.data.sources.access.location import LocalPath, Location, locate
from engine.data.sources.base import Source, SourceKind, Split, printable
from engine.errors import UserError
from engine.progress import scanning

# A link to a folder above itself leads in circles: the system ends them after 40 links.
_MOST_FOLDERS = 32

# What the folders are called elsewhere, the likeliest first; used only to suggest an option, never to guess.
_USUAL_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "eval", "test", "testing"),
}


class NoSplitError(UserError):
    """A split has no folder; `division` says how to take one from the other images, or is empty."""

    def __init__(self, message: str, division: str) -> None:
        super().__init__(message)
        self.division = division


@dataclass(frozen=True)
class FolderReader:
    """Reads images below `root` by their path relative to it."""

    root: Location

    def read(self, place: str) -> bytes:
        """The file's bytes. Raises UserError naming it when it can't be read."""
        return (self.root / place).read()

    def where(self, place: str) -> str:
        """The file's path."""
        return str(self.root / place)


def find(config: SourceConfig, split: Split) -> Source:
    """Scan `split` of the image folder at `config.path`. Raises UserError when it cannot be used as one."""
    root, sieve = split_folder(config, split), Sieve(taken_extensions(config))
    classes = _class_folders(root, sieve)
    labels: list[int] = []
    ids: list[str] = []
    empty: list[tuple[str, str]] = []
    with scanning(str(root), len(classes), "class folders") as progress:
        for label, name in enumerate(classes):
            images = [file for file in _files_below(root, name, sieve) if sieve.takes(file)]
            ids += images
            labels += [label] * len(images)
            if not images:
                empty.append((name, str(root / name)))
            progress.reach(label + 1)
    sieve.refuse_empty(empty, split, config)
    return Source(
        kind="image folder",
        classes=classes,
        labels=labels,
        ids=ids,
        places=ids,
        reader=FolderReader(root),
        notes=sieve.notes(split),
    )


def find_folder(config: SourceConfig, split: Split) -> Source | None:
    """The same; None where there is no folder at `config.path`."""
    return find(config, split) if locate(config).kind() == "folder" else None


KIND = SourceKind(
    name="folder",
    help="a folder of class folders, train/<class>/ and val/<class>/",
    by_extension=True,
    find=find_folder,
)


def class_names(config: SourceConfig) -> list[str]:
    """The classes of the training split: its class folders, sorted. Raises UserError when there are none."""
    return _class_folders(split_folder(config, "train"), Sieve(taken_extensions(config)))


def split_folder(config: SourceConfig, split: Split) -> Location:
    """The split's folder at `config.path`. Raises UserError, with what is there instead, when it is missing.

    With `config.split` it is the path itself for train, where that has no folder of any split's usual name.
    """
    base = locate(config)
    name, other = config.train_folder, config.val_folder
    if split == "val":
        name, other = other, name
    if name == ".":
        return base
    if name and (base / name).kind() == "folder":
        return base / name
    entries = base.entries()
    if any(entry.name == name and entry.is_broken for entry in entries):
        raise leads_nowhere(base / name)
    found = sorted(entry.name for entry in entries if entry.is_folder and entry.name[0] != ".")
    usual = _usual_names(found, split, other)
    is_unsplit = bool(found) and not usual and not _usual_names(found, "val", other)
    if config.split and split == "train" and is_unsplit and name in ("", SourceConfig.train_folder):
        return base
    advice = f"pass --source.{split}_folder={usual[0] if usual else 'NAME'}"
    if config.split and split == "train" and found:
        advice += ", or --source.train_folder=. if these are the classes"
    purpose = "if these are the classes" if split == "train" else f"to take a tenth of {other}'s images"
    division = f", or --source.split=0.1 {purpose}" if is_unsplit and not config.split else ""
    named = ", ".join(printable(folder) for folder in found[:10]) + (", ..." if len(found) > 10 else "")
    raise NoSplitError(f"no folder {name!r} under {base}; found: {named or 'no folders'}: {advice}", division)


def _usual_names(found: Sequence[str], split: Split, other: str) -> list[str]:
    """Those of the folders that are usually called so, the likeliest first, without the `other` split's."""
    by_lower = {folder.lower(): folder for folder in found if folder != other}
    return [by_lower[name] for name in _USUAL_NAMES[split] if name in by_lower]


def leads_nowhere(link: Location) -> UserError:
    """What to say of a link to nothing."""
    where = f" (to {printable(os.readlink(link.path))})" if isinstance(link, LocalPath) else ""
    return UserError(
        f"{link} is a link that leads nowhere{where}: mount or restore what it leads to, or remove the link"
    )


def _class_folders(root: Location, sieve: Sieve) -> list[str]:
    """The sorted class names; what lies beside the class folders is counted.

    Raises UserError for a link to nothing, which may be a class: without it other classes would have its labels.
    """
    classes = []
    for entry in sorted(root.entries()):
        if entry.is_folder:
            if entry.name[0] == ".":
                sieve.hidden.append(f"{entry.name}/")
            else:
                classes.append(entry.name)
        elif entry.is_broken and entry.name[0] != "." and not is_image(entry.name):
            raise leads_nowhere(root / entry.name)
        elif sieve.takes(entry.name):
            sieve.loose.append(entry.name)
    if not classes:
        found = "it holds neither folders nor images"
        if images := [
            name for name in (*sieve.loose, *sieve.skipped) if is_image(name, EXTENSIONS + OTHER_EXTENSIONS)
        ]:
            found = f"{len(images)} images are directly in it"
        raise UserError(
            f"no class folders in {root}: {found}; put each class's images into a folder of the class's name"
        )
    return classes


def _files_below(root: Location, name: str, sieve: Sieve) -> Iterator[str]:
    """Paths, relative to `root`, of all files below `root/name`, sorted; folders that are passed over are counted."""
    folders: list[str] = []
    if name.count("/") >= _MOST_FOLDERS:
        first = root / "/".join(name.split("/")[:2])
        raise UserError(f"{first} holds an endless loop of folders: remove the link in it that leads back up")
    for entry in sorted((root / name).entries()):
        path = f"{name}/{entry.name}"
        if entry.is_folder:
            if entry.name[0] == ".":
                sieve.hidden.append(f"{path}/")
            else:
                folders.append(path)
        elif entry.is_broken and entry.name[0] != "." and not is_image(path, sieve.taken):
            sieve.broken.append(path)
        else:
            yield path
    for folder in folders:
        yield from _files_below(root, folder, sieve)
