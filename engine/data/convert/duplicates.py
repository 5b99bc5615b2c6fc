"""Images of the same content, found by a digest of it, in 24 to 32 bytes of memory for each image."""

import base64
import hashlib
from array import array

import numpy as np

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


def find_copies(
    digest: bytes, number: int, seen: "Seen", of_val: "Seen | None", *, skip_leaks: bool
) -> list[tuple[str, int]]:
    """By which rules image `number` is a copy, and of which image: (option of RulesConfig, its number).

    The number is one in val for a "leak", which is looked for in `of_val`; for a "duplicate" it is that of an image
    before. The image is then seen itself, unless it is a leak and such are left out.
    """
    found = []
    if of_val is not None and (first := of_val.find(digest)) >= 0:
        found.append(("leak", first))
        if skip_leaks:
            return found
    if (first := seen.add(digest, number)) != number:
        found.append(("duplicate", first))
    return found


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
