"""Which files of a folder or tar are images to take, by their names; everything else is counted and told in notes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from engine.config.write import SourceConfig
from engine.data.sources.base import Split, printable
from engine.errors import UserError
from engine.registry import nearest

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
OTHER_EXTENSIONS = (
    *(".jfif", ".jpe", ".jp2", ".j2k", ".tif", ".tiff", ".gif", ".apng", ".avif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".dib"),
)
"""Of images that can be read too, but are taken only where `source.extensions` says so."""
_NOT_READ = (".heic", ".heif", ".jxl", ".svg", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw")


def is_image(name: str, taken: tuple[str, ...] = EXTENSIONS) -> bool:
    """Whether a file's name has one of these extensions, in whatever case."""
    return name.lower().endswith(taken)


def taken_extensions(config: SourceConfig) -> tuple[str, ...]:
    """The extensions of the images to take: the usual ones and `config.extensions`.

    Raises UserError for one of a type that can't be read.
    """
    return _with_others(config.extensions)


@lru_cache
def _with_others(text: str) -> tuple[str, ...]:
    asked = [f".{word.strip().lower().removeprefix('.')}" for word in text.split(",")] if text.strip() else []
    known = EXTENSIONS + OTHER_EXTENSIONS
    for one in asked:
        if one not in known:
            raise UserError(
                f"source.extensions: {one!r} is not the extension of an image that can be read{nearest(one, known)}; "
                f"choices: {', '.join(OTHER_EXTENSIONS)}"
            )
    return tuple(dict.fromkeys((*EXTENSIONS, *asked)))


@dataclass
class Sieve:
    """Picks the images to take by their paths, and keeps the paths of what it leaves out, those of folders with a
    slash at the end."""

    taken: tuple[str, ...]
    """The extensions of images to take."""
    loose: list[str] = field(default_factory=list)
    """Images beside the class folders."""
    skipped: list[str] = field(default_factory=list)
    """Files with other extensions."""
    hidden: list[str] = field(default_factory=list)
    """Images and folders whose names begin with a dot."""
    broken: list[str] = field(default_factory=list)
    """Links that lead to nothing, and have no image's name."""

    def takes(self, path: str) -> bool:
        """Whether the file is an image to take; if not, it is counted here."""
        is_hidden, looks_right = path.rpartition("/")[2].startswith("."), is_image(path, self.taken)
        if not is_hidden and looks_right:
            return True
        if not is_hidden:
            self.skipped.append(path)
        elif looks_right:
            self.hidden.append(path)
        return False

    def notes(self, split: Split) -> tuple[str, ...]:
        """A line for each kind of what was left out."""
        others = [path for path in self.skipped if is_image(path, OTHER_EXTENSIONS)]
        option = f"--source.extensions={types(others)}"
        groups = [
            (others, "images of types not taken by default", f": {option} takes them"),
            (
                [path for path in self.skipped if is_image(path, _NOT_READ)],
                "images of types that can't be read here",
                ": convert them to JPEG or PNG",
            ),
            (
                [path for path in self.skipped if not is_image(path, OTHER_EXTENSIONS + _NOT_READ)],
                "files that are not images",
                "",
            ),
            ([path for path in self.hidden if path[-1] != "/"], "images with hidden names", ""),
            ([path for path in self.hidden if path[-1] == "/"], "folders with hidden names", ""),
            (self.broken, "links that lead nowhere", ": restore what they led to, or remove them"),
        ]
        lines = [
            f"{split}: ignored {len(paths)} {what}, such as {printable(paths[0])}{advice}"
            for paths, what, advice in groups
            if paths
        ]
        if self.loose:
            beside = "images that are beside the class folders, not in one"
            lines.insert(0, f"{split}: ignored {len(self.loose)} {beside}")
        return tuple(lines)

    def refuse_empty(self, folders: Sequence[tuple[str, str]], split: Split, config: SourceConfig) -> None:
        """Raises UserError naming the first of the class folders (class, where) that hold no images, if any.

        Val may have such folders where it takes train's classes.
        """
        if not folders or (split == "val" and config.val_classes == "train"):
            return
        more = f" (and {len(folders) - 1} more class folders)" if len(folders) > 1 else ""
        advice = f"add some ({', '.join(one.lstrip('.') for one in EXTENSIONS)}) or remove it"
        empty = {name for name, _ in folders}
        inside = [path for path in self.skipped if path.split("/")[0] in empty]
        if others := [path for path in inside if is_image(path, OTHER_EXTENSIONS)]:
            advice = f"--source.extensions={types(others)} takes {len(others)} images of other types there; or {advice}"
        elif split == "val":
            advice += "; or pass --source.val_classes=train, with which val may lack classes of train"
        raise UserError(f"no images in class folder {folders[0][1]}{more}: {advice}")


def types(paths: Sequence[str]) -> str:
    """The files' extensions, as `source.extensions` takes them."""
    return ",".join(sorted({os.path.splitext(path)[1].lower() for path in paths}))
