"""The images that are meant by what a user writes: files, folders, patterns, URLs, and stdin's list or image."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from engine.data.sources.access.image_names import EXTENSIONS, OTHER_EXTENSIONS, is_image
from engine.errors import UserError, describe_os_error
from engine.predict.image_source import MOST_BYTES, Named, is_url
from engine.progress import human_bytes

STDIN = "-"
_TAKEN = EXTENSIONS + OTHER_EXTENSIONS
# No list of paths begins so: the formats that decoders know by their first bytes.
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"\0\0\0", b"P5", b"P6")


def gather(asked: Iterable[str], stdin: BinaryIO | None = None) -> list[str | Named]:
    """Each image's path or URL, or its bytes from stdin, in the order of `asked`; of folders and patterns sorted.

    A folder means all images in it and below. `-` is an image on stdin, or a list of any of these, one a line or (as
    of `find -print0`) with zero bytes between. Raises UserError for what leads to no image; a file that is named
    itself is taken, whatever it is.
    """
    found: list[str | Named] = []
    for one in asked:
        found += _of_stdin(stdin or sys.stdin.buffer) if one == STDIN else _expand(one)
    return found


def _of_stdin(stream: BinaryIO) -> Iterator[str | Named]:
    content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"stdin has more than {human_bytes(MOST_BYTES)}: give a folder or a pattern")
    if content.startswith(_IMAGES):
        yield Named(STDIN, content)
        return
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    names = [os.fsdecode(line) for line in lines if line.strip()]
    if not names:
        raise UserError("stdin is empty: - takes an image, or a list of paths and URLs, one a line")
    for name in names:
        yield from _expand(name)


def _expand(asked: str) -> list[str]:
    if is_url(asked):
        return _expand_url(asked) if "*" in asked and not asked.startswith("http") else [asked]
    if os.path.isdir(asked):
        return _below(Path(asked))
    if glob.has_magic(asked) and not os.path.lexists(asked):
        found = sorted(path for path in glob.glob(asked, recursive=True) if not os.path.isdir(path))
        if not found:
            raise UserError(f"no file is named like {asked}: check the pattern")
        return found
    # A file that is missing is told of in its place, like others that can't be read.
    return [asked]


def _below(folder: Path) -> list[str]:
    def stop(error: OSError) -> None:
        raise describe_os_error(error, error.filename, "look into")

    found = [
        os.path.join(where, name)
        for where, _, names in os.walk(folder, onerror=stop, followlinks=True)
        for name in names
        if is_image(name, _TAKEN) and not name.startswith(".")
    ]
    if not found:
        raise UserError(f"{folder} holds no image ({', '.join(EXTENSIONS)}, ...): give another folder")
    return sorted(found)


def _expand_url(pattern: str) -> list[str]:
    import fsspec

    try:
        found = [file.full_name for file in fsspec.open_files(pattern, "rb")]
    # Each file system raises its own kinds.
    except Exception as error:  # noqa: BLE001
        raise UserError(f"{pattern} can't be listed: {' '.join(str(error).split())}") from None
    if not found:
        raise UserError(f"no file is named like {pattern}: check the pattern")
    return sorted(found)
