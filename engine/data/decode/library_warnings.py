"""What libraries warn of while images are read: caught, since on stderr it names no file and tears the progress bar."""

import ctypes
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Loads the C libraries that Pillow uses.
from PIL import Image  # noqa: F401

# As Python does by default: for programmers, not for users.
_FOR_PROGRAMMERS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


@contextmanager
def library_warnings() -> Iterator[list[str]]:
    """Collects, one line each, the warnings and log messages of libraries within the block.

    Both are of the process: in another thread's block that begins before this one ends, warnings may be lost. What
    libtiff, in C, would print of damaged files is dropped: Pillow raises what matters.
    """
    _silence_libtiff()
    said: list[str] = []
    collector = _Collector(said)
    logging.getLogger().addHandler(collector)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            for category in _FOR_PROGRAMMERS:
                warnings.simplefilter("ignore", category)
            warnings.showwarning = lambda message, category, *_where, **_: said.append(
                _line(f"{category.__name__}: {message}")
            )
            yield said
    finally:
        logging.getLogger().removeHandler(collector)


class _Collector(logging.Handler):
    """Takes log records, which otherwise go to stderr where a program has not said where."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(_line(f"{record.name}: {record.getMessage()}"))


def _silence_libtiff() -> None:
    # Each time: other libraries that read images set handlers too.
    if not _LIBTIFF_SETTERS:
        _LIBTIFF_SETTERS.extend(_libtiff_setters())
    for setter in _LIBTIFF_SETTERS:
        setter(None)


_LIBTIFF_SETTERS: list[Callable[[None], object]] = []


def _libtiff_setters() -> Iterator[Callable[[None], object]]:
    """The functions that set libtiff's handlers, of each copy of it in this process."""
    maps: list[str] = []
    with suppress(OSError):
        maps = Path("/proc/self/maps").read_text().splitlines()
    for path in sorted({line.split()[-1] for line in maps if "libtiff" in line}):
        # One that can't be had must not hide the others.
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(path)
            for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
                setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
                yield setter


def _line(text: str) -> str:
    return " ".join(text.split())
