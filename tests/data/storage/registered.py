"""A format from outside the engine, known as long as a test needs it: tests elsewhere see only the engine's own."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from engine.config.write import STORAGE_LIMITS
from engine.data.storage import formats
from engine.data.storage.storage_format import StorageFormat

GRAY_MODULE = "tests.data.storage.gray_format"

NAMES = [*(form.name for form in formats.all_formats()), "gray"]
"""Of all formats of the engine, and of one that is none of its own."""


@contextmanager
def gray_registered() -> Iterator[StorageFormat]:
    """Import gray_format.py, as a user's program would; forget it afterwards."""
    importlib.import_module(GRAY_MODULE)
    try:
        yield formats.named("gray")[0]
    finally:
        forget("gray")
        del sys.modules[GRAY_MODULE]


def forget(name: str) -> None:
    """Undo `register`."""
    del formats._BY_NAME[name]
    del STORAGE_LIMITS[name]
