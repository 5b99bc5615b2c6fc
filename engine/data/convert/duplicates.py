"""Images of the same content, found by a digest of it, in 24 to 32 bytes of memory for each image."""

import base64
import hashlib
from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.data.decode.pillow_pixels import decode_rgb, gray_as_rgb
from engine.data.sources.base import Content

DIGEST_BYTES = 16


def digest_of(content: Content) -> bytes:
    """16 bytes that differ for different contents (the first half of their SHA-256).

    Of a file's bytes, or of RGB pixels with their shape: a file and its pixels are different contents. Raises
    ValueError where a PIL image can't be decoded.
    """
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()[:DIGEST_BYTES]
    pixels = gray_as_rgb(content) if isinstance(content, np.ndarray) else decode_rgb(content, truncated=True)
    state = hashlib.sha256(f"pixels {pixels.shape}".encode("ascii"))
    state.update(np.ascontiguousarray(pixels).data)
    return state.digest()[:DIGEST_BYTES]


def digests_as_text(digests: bytes) -> str:
    """Digests one after the other, for a manifest."""
    return base64.b64encode(digests).decode("ascii")


def digests_of_text(text: str) -> list[bytes]:
    """What `digests_as_text` was given, one by one. Raises ValueError for any other text."""
    data = base64.b64decode(text, validate=True)
    if len(data) % DIGEST_BYTES:
        raise ValueError(f"{len(data)} bytes are no digests")
    return [data[start : start + DIGEST_BYTES] for start in range(0, len(data), DIGEST_BYTES)]


class Copy(NamedTuple):
    """By which option of RulesConfig an image is a copy, and of which other one."""

    kind: str
    first: int
    """The other image's number."""
    in_val: bool = False
    """Whether that is one of val, and this one of train."""


class Copies:
    """Finds the copies among a split's images, which are taken one after the other; `of_val`: also of those in val.

    A copy of an image before it is a "duplicate", one of an image in val is a "leak", and where that is of another
    class it is a "conflict" as well, which then comes first. `rules` are values of RulesConfig.
    """

    def __init__(self, labels: NDArray[np.int64], rules: Mapping[str, str], of_val: "Copies | None") -> None:
        self._labels, self._rules, self._of_val = labels, rules, of_val
        self._seen = Seen(len(labels))
        self._kept: dict[int, list[int]] = {}
        self.withdrawn: set[int] = set()
        """Images that were kept before one of another class was found: by rules.conflict=skip they are left out too."""

    def find(self, digest: bytes, number: int) -> list[Copy]:
        """Of which images this one is a copy. It is then seen itself, unless it is left out for one in val."""
        found, val = [], self._of_val
        if val is not None and (first := val._seen.find(digest)) >= 0:
            if val._is_contested(first, self._labels[number]):
                found.append(Copy("conflict", first, in_val=True))
            # What val has withdrawn is not in it.
            if first not in val.withdrawn:
                found.append(Copy("leak", first, in_val=True))
        if any(self._rules[copy.kind] == "skip" for copy in found):
            return found
        if (first := self._seen.add(digest, number)) != number:
            if self._is_contested(first, self._labels[number]):
                found.append(Copy("conflict", first))
            found.append(Copy("duplicate", first))
        return found

    def _is_contested(self, number: int, label: int) -> bool:
        """Whether an image of this label is in conflict with this one of the same content."""
        return number in self.withdrawn or self._labels[number] != label

    def keep(self, number: int, copies: Sequence[Copy]) -> None:
        """The image is stored, though it is one of these copies."""
        for copy in copies:
            if not copy.in_val:
                self._kept.setdefault(copy.first, []).append(number)

    def withdraw(self, copies: Sequence[Copy]) -> list[int]:
        """Which images, kept so far, are to be left out as well, now that one with these conflicts is."""
        found: list[int] = []
        for copy in copies:
            if copy.kind == "conflict" and not copy.in_val and self._rules["conflict"] == "skip":
                found += {copy.first, *self._kept.pop(copy.first, ())} - self.withdrawn
        self.withdrawn.update(found)
        return sorted(found)


class Seen:
    """Digest -> number of the image that had it first, for images numbered below `capacity`.

    A hash table of 24 to 32 bytes for each image, where a dict would take 150.
    """

    def __init__(self, capacity: int) -> None:
        size = 1 << (2 * capacity).bit_length()
        self._mask = size - 1
        self._numbers = array("i", [-1]) * size
        self._digests = bytearray(capacity * DIGEST_BYTES)

    def add(self, digest: bytes, number: int) -> int:
        """The number that this digest was added with first; its own `number` where it is new."""
        slot = self._slot(digest)
        if self._numbers[slot] < 0:
            self._numbers[slot] = number
            self._digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES] = digest
        return self._numbers[slot]

    def find(self, digest: bytes) -> int:
        """The number that this digest was added with first, or -1."""
        return self._numbers[self._slot(digest)]

    def _slot(self, digest: bytes) -> int:
        """The digest's place in the table, or the free one where it belongs."""
        # A digest's bits are as good as random: any of them make a slot.
        slot = int.from_bytes(digest[:8], "little") & self._mask
        while (first := self._numbers[slot]) >= 0:
            if self._digests[first * DIGEST_BYTES : (first + 1) * DIGEST_BYTES] == digest:
                break
            slot = (slot + 1) & self._mask
        return slot
