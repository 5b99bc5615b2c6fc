"""Images in class folders: `<split>/<class>/**/<name>.jpg`, the layout of ImageNet and torchvision.

A label is the index of its class among the sorted class names. Files are taken in sorted order, at any depth
below the class folder; hidden ones and those without an image's extension are ignored, with a note.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.config.write import SourceConfig
from engine.data.sources.access.location import Location, locate
from engine.data.sources.base import Source, SourceKind, Split, printable
from engine.errors import UserError
from engine.progress import scanning

# A link to a folder above itself leads in circles: the system ends them after 40 links.
_MOST_FOLDERS = 32

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

# What the folders are called elsewhere; used only to suggest an option, never to guess.
_USUAL_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "test", "testing", "eval"),
}


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
    root = split_folder(config, split)
    classes, loose = _class_folders(root)
    labels: list[int] = []
    ids: list[str] = []
    skipped: list[str] = []
    hidden: list[str] = []
    empty: list[str] = []
    with scanning(str(root), len(classes), "class folders") as progress:
        for label, name in enumerate(classes):
            files = list(_files_below(root, name, hidden))
            images = [file for file in files if is_image(file)]
            ids += images
            labels += [label] * len(images)
            if not images:
                empty.append(name)
            if len(images) < len(files):
                skipped += [file for file in files if not is_image(file)]
            progress.reach(label + 1)
    refuse_empty([str(root / name) for name in empty])
    return Source(
        kind="image folder",
        classes=classes,
        labels=labels,
        ids=ids,
        places=ids,
        reader=FolderReader(root),
        notes=passed_over(split, loose, skipped, hidden),
    )


def find_folder(config: SourceConfig, split: Split) -> Source | None:
    """The same; None where there is no folder at `config.path`."""
    return find(config, split) if locate(config).kind() == "folder" else None


KIND = SourceKind(
    name="folder",
    help="a folder of class folders, train/<class>/ and val/<class>/",
    find=find_folder,
)


def class_names(config: SourceConfig) -> list[str]:
    """The classes of the training split: its class folders, sorted. Raises UserError when there are none."""
    return _class_folders(split_folder(config, "train"))[0]


def is_image(name: str) -> bool:
    """Whether a file's name says that it is an image."""
    return name.lower().endswith(EXTENSIONS)


def split_folder(config: SourceConfig, split: Split) -> Location:
    """The split's folder at `config.path`. Raises UserError, with what is there instead, when it is missing."""
    base = locate(config)
    name, other = config.train_folder, config.val_folder
    if split == "val":
        name, other = other, name
    if name and (base / name).kind() == "folder":
        return base / name
    found = sorted(entry.name for entry in base.entries() if entry.is_folder and entry.name[0] != ".")
    named = ", ".join(printable(folder) for folder in found[:10]) + (", ..." if len(found) > 10 else "")
    usual = [folder for folder in found if folder.lower() in _USUAL_NAMES[split] and folder != other]
    advice = f"pass --source.{split}_folder={usual[0] if usual else 'NAME'}"
    raise UserError(f"no folder {name!r} under {base}; found: {named or 'no folders'}: {advice}")


def _class_folders(root: Location) -> tuple[list[str], int]:
    """The sorted class names, and how many images lie beside the class folders."""
    classes, loose = [], 0
    for entry in root.entries():
        if entry.name[0] == ".":
            continue
        if entry.is_folder:
            classes.append(entry.name)
        elif is_image(entry.name):
            loose += 1
    if not classes:
        found = f"{loose} images are directly in it" if loose else "it holds neither folders nor images"
        raise UserError(
            f"no class folders in {root}: {found}; put each class's images into a folder of the class's name"
        )
    return sorted(classes), loose


def _files_below(root: Location, name: str, hidden: list[str]) -> Iterator[str]:
    """Paths, relative to `root`, of all files below `root/name`, sorted; hidden images are added to `hidden`."""
    files: list[str] = []
    folders: list[str] = []
    if name.count("/") >= _MOST_FOLDERS:
        first = root / "/".join(name.split("/")[:2])
        raise UserError(f"{first} holds an endless loop of folders: remove the link in it that leads back up")
    for entry in (root / name).entries():
        path = f"{name}/{entry.name}"
        if entry.name[0] != ".":
            (folders if entry.is_folder else files).append(path)
        elif is_image(path):
            hidden.append(path)
    yield from sorted(files)
    for folder in sorted(folders):
        yield from _files_below(root, folder, hidden)


def refuse_empty(folders: Sequence[str]) -> None:
    """Raises UserError naming the first of these class folders that hold no images, where there are any."""
    if not folders:
        return
    more = f" (and {len(folders) - 1} more class folders)" if len(folders) > 1 else ""
    known = ", ".join(extension.lstrip(".") for extension in EXTENSIONS)
    raise UserError(f"no images in class folder {folders[0]}{more}: add some ({known}) or remove it")


def passed_over(
    split: Split, loose: int, skipped: Sequence[str], hidden: Sequence[str] = ()
) -> tuple[str, ...]:
    """Notes about `loose` images in no class folder, `skipped` files that are not images, and `hidden` images."""
    notes = []
    if loose:
        notes.append(f"{split}: ignored {loose} images that are beside the class folders, not in one")
    if skipped:
        example = printable(skipped[0])
        notes.append(f"{split}: ignored {len(skipped)} files that are not images, such as {example}")
    if hidden:
        example = printable(hidden[0])
        notes.append(f"{split}: ignored {len(hidden)} images with hidden names, such as {example}")
    return tuple(notes)
