"""The storage formats by name, mode and magic, and what a file's images are called.

`register` is all that a new format needs, in engine/data/storage/__init__.py or in a module of your own. Processes that
are started for a conversion import `modules()`, so that they know formats registered elsewhere.
"""

import importlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from engine.config.write import STORAGE_LIMITS
from engine.data.storage.storage_format import StorageFormat
from engine.errors import UserError
from engine.registry import nearest

PROPORTION = "proportion"
"""The one mixture: some images jpeg, the others raw."""
_MIXED = ("jpeg", "raw")

# What manifests count in any case, also where there are none.
_ALWAYS_COUNTED = ("jpeg", "raw", "yuv420")

_MAGIC_BYTES = 8
_BY_NAME: dict[str, StorageFormat] = {}


def register(form: StorageFormat) -> StorageFormat:
    """Make a format known to all of the engine. Raises ValueError where its name, mode or magic is another one's."""
    magic_is_whole = len(form.magic) == _MAGIC_BYTES and not form.magic.endswith(b"\0")
    if not magic_is_whole and not (form.magic == b"" and form.mode <= 1):
        raise ValueError(f"{form.name}: its magic {form.magic!r} must be 8 bytes, the last one not 0")
    if not 0 <= form.mode <= 255 or form.name == PROPORTION:
        raise ValueError(
            f"{form.name}: mode {form.mode} must be 0 to 255, and {PROPORTION} is no name for it"
        )
    for other in all_formats():
        same_magic = form.magic == other.magic and form.magic != b""
        if form.name == other.name or form.mode == other.mode or same_magic:
            raise ValueError(
                f"storage formats {form.name} and {other.name} have the same name, mode or magic"
            )
    _BY_NAME[form.name] = form
    STORAGE_LIMITS[form.name] = form.limited_by
    return form


def all_formats() -> tuple[StorageFormat, ...]:
    """All registered ones, in the order of their registration."""
    return tuple(_BY_NAME.values())


def modules() -> list[str]:
    """Of the registered formats: importing them registers the same ones."""
    return sorted({type(form).__module__ for form in all_formats()} - {"__main__"})


def import_modules(names: Iterable[str]) -> None:
    """In a process that was started for another one: register what that one had registered."""
    for name in names:
        importlib.import_module(name)


def of_mode(mode: int) -> StorageFormat:
    """The format of this number. Raises ValueError for one that is nobody's."""
    for form in all_formats():
        if form.mode == mode:
            return form
    raise ValueError(f"no storage format has mode {mode}")


def named(name: str) -> tuple[StorageFormat, ...]:
    """What a file of --output.format=`name` may hold: one format, or those of the mixture.

    Raises UserError for a name that is not registered.
    """
    if name == PROPORTION:
        return tuple(_BY_NAME[one] for one in _MIXED)
    if name not in _BY_NAME:
        choices = ", ".join(STORAGE_LIMITS)
        raise UserError(f"output.format: {name!r} is not one of {choices}{nearest(name, STORAGE_LIMITS)}")
    return (_BY_NAME[name],)


def stored_formats(modes: NDArray[np.uint8]) -> tuple[StorageFormat, ...]:
    """Of these images, each once, in the order of registration."""
    found = np.unique(modes)
    return tuple(form for form in all_formats() if form.mode in found)


def storage_name(modes: NDArray[np.uint8]) -> str:
    """How images of these modes are stored: a format's name, or "proportion" where they are of two."""
    formats = stored_formats(modes)
    return formats[0].name if len(formats) == 1 else PROPORTION


def count_modes(modes: NDArray[np.uint8]) -> dict[str, int]:
    """Name of a format -> how many of these images are stored in it, as a manifest has it."""
    counts = {form.name: int((modes == form.mode).sum()) for form in all_formats()}
    return {name: count for name, count in counts.items() if count or name in _ALWAYS_COUNTED}


def describe_modes(modes: NDArray[np.uint8]) -> str:
    """The same in words, such as "3 JPEG, 0 raw": all formats that such a file may hold."""
    return ", ".join(f"{(modes == form.mode).sum():,} {form.title}" for form in _of_one_field(modes))


def _of_one_field(modes: NDArray[np.uint8]) -> Iterator[StorageFormat]:
    stored = stored_formats(modes)
    magic = stored[0].magic if stored else b""
    return (form for form in all_formats() if form.magic == magic)
