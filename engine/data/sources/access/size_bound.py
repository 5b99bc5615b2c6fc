"""How large an image's file may be: asked before it is read, so that a disk image named .jpg takes no memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from engine.config.write import RulesConfig
from engine.data.sources.base import UnusableImageError
from engine.progress import human_bytes

# Bytes; 0: any size. Of this process: readers, which are small and sent around, need not know it.
_most = 0


@contextmanager
def images_bounded(rules: RulesConfig) -> Iterator[None]:
    """In the block images are read only if they are within the rules, or are read however large they are."""
    global _most
    before, _most = _most, 0 if rules.oversized == "repair" else rules.max_megabytes * 10**6
    try:
        yield
    finally:
        _most = before


def most_bytes() -> int:
    """Bytes that an image may have; 0: any number."""
    return _most


def check_size(size: int, where: str) -> None:
    """Raises UnusableImageError for an image of more bytes than are allowed."""
    if 0 < _most < size:
        raise UnusableImageError(f"cannot read {where}: {too_large(size, _most)}", "oversized")


def too_large(size: int, most: int) -> str:
    """Why an image of this many bytes is oversized, in words."""
    return f"it has {human_bytes(size)}, more than rules.max_megabytes={most // 10**6}"
