"""How many images are enough to be read from memory and not from the processor's cache.

A file in the L3 cache would favour the side that reads most bytes an image, and the first epoch of a short file would
end before it could be timed.
"""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

from benchmarks.harness.images.exports import EXPORTS, SOURCE
from benchmarks.harness.images.prepared import PHOTOS, Images, cache_folder, is_there, prepare
from engine.errors import UserError
from engine.limits import usable_memory
from engine.progress import human_bytes

# About a second of packed crops on two cores.
_LEAST_IMAGES = 50_000
_TIMES_L3 = 4
# Of all files together: both sides' are in the page cache, beside memory to work in.
_SHARE_OF_MEMORY = 0.5

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def gather(storages: set[str], data: Path | None, count: int | None) -> dict[str, Images]:
    """The same images in each storage, `count` of them or enough of them; prints the space that they take.

    Raises UserError when the disk has no room for them, and what `prepare` raises.
    """
    if storages & EXPORTS.keys():
        storages = {*storages, SOURCE}
    few = count if count and count <= PHOTOS else None
    photos = {storage: prepare(data, storage, few) for storage in sorted(storages)}
    bytes_each = {storage: known.bytes / known.num_samples for storage, known in photos.items()}
    l3 = l3_bytes()
    number = count or enough_images(bytes_each, l3, usable_memory())
    _say_and_check_room(data, bytes_each, number)
    images = {storage: prepare(data, storage, number) for storage in photos}
    for known in images.values():
        print(f"data: {known.identity}", flush=True)
        if known.bytes < _TIMES_L3 * l3:
            print(
                f"note: that is not {_TIMES_L3} x the L3 cache ({human_bytes(l3)}), which may hold part of it"
            )
    return images


def enough_images(bytes_each: Mapping[str, float], l3: int, memory: int) -> int:
    """Images whose smallest file is well above the L3 cache, and all of whose files fit into half the memory."""
    wanted = max(_LEAST_IMAGES, math.ceil(_TIMES_L3 * l3 / min(bytes_each.values())))
    return max(1, min(wanted, int(memory * _SHARE_OF_MEMORY / sum(bytes_each.values()))))


def l3_bytes(caches: Path = _CACHES) -> int:
    """Bytes of the L3 cache of a core, 0 where the system doesn't say."""
    for folder in caches.glob("index*"):
        try:
            level, size = ((folder / name).read_text(encoding="ascii").strip() for name in ("level", "size"))
        except OSError:
            continue
        if level == "3" and size.endswith("K"):
            return int(size[:-1]) * 1024
    return 0


def _say_and_check_room(data: Path | None, bytes_each: Mapping[str, float], number: int) -> None:
    folder = cache_folder()
    missing = {
        storage: int(each * number)
        for storage, each in bytes_each.items()
        if not is_there(data, storage, number)
    }
    if not missing:
        return
    # The folder itself may not be there yet.
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    files = ", ".join(f"{storage} {human_bytes(size)}" for storage, size in missing.items())
    print(f"writing {number:,} images once into {folder}: {files} ({human_bytes(free)} are free)", flush=True)
    if sum(missing.values()) > free:
        raise UserError(
            f"{folder} has room for {human_bytes(free)}, not {human_bytes(sum(missing.values()))}: free some, lower "
            "--images, or name another folder by XDG_CACHE_HOME"
        )
