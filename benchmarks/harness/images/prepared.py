"""The images that are measured: a user's folder or tar, or made-up photos, as a .beton in the user's cache.

Made once through the engine's own conversion and kept under $XDG_CACHE_HOME (else ~/.cache), so that every
later run reads the same file. Where more images are wanted than there are, each is stored several times (repeat.py): as
separate records, since one record read again would come from the processor's cache. The files of all storages hold the
same images in the same order. Another loader's layout (exports.py) is made from such a file and counts as a storage.
"""

import dataclasses
import hashlib
import json
import re
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.images.exports import EXPORTS, SOURCE, export, export_folder, exported_files
from benchmarks.harness.images.repeat import repeat_records
from engine import __version__
from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from engine.data.sources.access.image_names import EXTENSIONS
from engine.data.sources.base import printable
from engine.errors import UserError, describe_os_error
from engine.files import user_cache
from engine.progress import human_bytes

T = TypeVar("T")

# Beside the file of each image once.
REPEATED = "repeated.beton"
# The default number of images, and the most that are made up.
PHOTOS = 512
_CLASSES = 8
_SYNTHETIC_SIZE = (375, 500)
# Raised with every change of `synthetic_photo`, and of how files are made from the images.
_SYNTHETIC_VERSION = 1
_FILE_VERSION = 6

# Storage -> changes to write_dataset.py's defaults of that format. `jpeg`: every image encoded again, as stock ffcv and
# ffcv-imagenet do; `jpeg-kept`: the images' own JPEG data where they fit, our default.
_OUTPUTS: dict[str, dict[str, Any]] = {"jpeg": {"jpeg_unchanged": False}, "jpeg-kept": {"format": "jpeg"}}


@dataclass(frozen=True, kw_only=True)
class Images:
    """A .beton ready to be measured with."""

    beton: Path
    num_samples: int
    bytes: int
    """Of all records."""
    identity: str
    """For records: origin, count, storage, size, bytes per pixel, checksum."""
    folder: Path | None = None
    """The same images in another layout, where the storage is one (exports.py)."""

    @property
    def files(self) -> list[Path]:
        """The files that a side reads."""
        return [self.beton] if self.folder is None else exported_files(self.folder)


def prepare(data: Path | None, storage: str, count: int | None = None) -> Images:
    """`count` images stored as `storage`: of `data`, or made-up ones without it; None: a few hundred.

    Evenly spaced ones where there are more, each several times where there are fewer (None: each once). Raises
    UserError when `data` holds no images, one can't be used, or the cache can't be written.
    """
    if storage in EXPORTS:
        source = prepare(data, SOURCE, count)
        folder = export(source.beton, _checksum(source.beton), storage)
        identity = f"{source.identity}; as {EXPORTS[storage].words}"
        return dataclasses.replace(source, folder=folder, identity=identity)
    beton = cached(data, storage, count)
    if not _is_whole(beton):
        _build(data, storage, count, beton.parent)
    photos = open_beton(beton).num_samples
    if count and photos < count:
        repeated = beton.with_name(REPEATED)
        if not _is_whole(repeated):
            repeat_records(beton, repeated, count)
        beton = repeated
    return _describe(data, storage, beton, photos)


def cached(data: Path | None, storage: str, count: int | None) -> Path:
    """Where `prepare` keeps the .beton of these arguments, whether or not it exists yet."""
    return cache_folder() / _key(data, storage, count) / "train.beton"


def is_there(data: Path | None, storage: str, count: int | None) -> bool:
    """Whether `prepare` would find its files, judged by their names."""
    beton = cached(data, SOURCE if storage in EXPORTS else storage, count)
    files = [beton, beton.with_name(REPEATED)]
    if storage in EXPORTS:
        files = [export_folder(file, storage) for file in files]
    return any(map(Path.exists, files))


def cache_folder() -> Path:
    """Where benchmark files are kept. Raises UserError for a user without a home."""
    if (folder := user_cache()) is None:
        raise UserError(
            "no folder for the benchmark's images: this user has no home; set XDG_CACHE_HOME to a folder"
        )
    return folder / "benchmarks"


def synthetic_photo(seed: int) -> NDArray[np.uint8]:
    """Made-up RGB content with the spectrum of photos: noise in octaves, weaker the finer, and hard edges."""
    random = np.random.default_rng(seed)
    height, width = _SYNTHETIC_SIZE
    total = np.zeros((height, width, 3), np.float32)
    for cells in (2, 4, 8, 16, 32, 64, 128):
        grid = random.normal(0, 1, (cells, cells, 3)).astype(np.float32)
        # Mostly gray: photos' colours vary less than their brightness.
        grid = 0.8 * grid.mean(axis=2, keepdims=True) + 0.2 * grid
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * cells**-0.6
    for _ in range(12):
        corners = random.integers(0, (width, height), (3, 2)).astype(np.int32)
        mask = cv2.fillPoly(np.zeros((height, width), np.uint8), [corners], 1)
        total += mask[:, :, None] * random.normal(0, 0.5, 3).astype(np.float32)
    return np.clip(128 + 70 * total, 0, 255).astype(np.uint8)


def _key(data: Path | None, storage: str, count: int | None) -> str:
    """A folder name that changes with whatever changes the file."""
    if data is None:
        origin: object = ["synthetic", _SYNTHETIC_VERSION]
    else:
        try:
            files = [data] if data.is_file() else _image_files(data)
            facts = [(str(file.resolve()), file.stat()) for file in files]
        except OSError as error:
            raise describe_os_error(error, data, "read") from None
        origin = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in facts]
    settings = dataclasses.asdict(_output(storage))
    text = json.dumps([origin, settings, count, __version__, _FILE_VERSION])
    return f"{data.stem if data else 'synthetic'}-{storage}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _output(storage: str, **more: Any) -> OutputConfig:
    return OutputConfig(**{"format": storage, **_OUTPUTS.get(storage, {}), **more})


def _is_whole(beton: Path) -> bool:
    if not beton.exists():
        return False
    try:
        open_beton(beton)
    except UserError as error:
        print(f"writing it again: {error}", flush=True)
        return False
    return True


def _build(data: Path | None, storage: str, count: int | None, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as source:
            photos = unpack(data, count or PHOTOS, Path(source))
            # A class for each photo, so that labels show how often each came.
            link_tree(photos, len(photos), Path(source), classes=len(photos))
            output = _output(storage, folder=str(folder), overwrite=True)
            try:
                convert(WriteConfig(source=SourceConfig(path=source), output=output))
            except UserError as error:
                raise in_users_words(error, Path(source), photos, data, count or PHOTOS) from None
    except OSError as error:
        raise describe_os_error(error, folder, "write into") from None


def in_users_words(
    error: UserError, folder: Path, photos: list[Path], data: Path | None, count: int
) -> UserError:
    """A conversion's error with the image's place in the user's `data` instead of its copy below `folder`.

    `photos` are those of `unpack(data, count, ...)`, linked by `link_tree`. The copy is gone by now, and a conversion's
    rules for bad images are no options of a benchmark.
    """
    message = re.split(r": (?:remove it, or )?pass --rules\.", str(error))[0]
    tree = rf"{re.escape(str(folder))}(?:/[^/]+)?/(?:train|val)/class[0-9]+/[0-9]+_"
    found = re.search(f"({tree})([0-9]{{6}})_", message)
    if found is None:
        return error
    index = int(found[2])
    copy = printable(f"{found[1]}{photos[index].name}")
    where, _, _ = next(islice(_contents(data, count), index, None))
    return UserError(f"{message.replace(copy, printable(where))}: remove it")


def unpack(data: Path | None, count: int, folder: Path) -> list[Path]:
    """At most `count` of the images as files in `folder`. Raises UserError where there are none, OSError."""
    photos = []
    for index, (_, name, content) in enumerate(_contents(data, count)):
        photos.append(folder / f"{index:06d}_{name}")
        photos[-1].write_bytes(content)
    if not photos:
        raise UserError(f"{data} holds no images ({', '.join(EXTENSIONS)}): give a folder or tar of some")
    return photos


def link_tree(photos: list[Path], count: int, folder: Path, classes: int = _CLASSES) -> None:
    """Make train/ and val/ in `folder` of links to the photos, repeated to `count` training images.

    The first of each class are validation too: a conversion needs both, with the same classes.
    """
    for split, number in (("val", min(count, classes)), ("train", count)):
        for index in range(number):
            photo = photos[index % len(photos)]
            path = folder / split / f"class{index % classes}" / f"{index // len(photos):03d}_{photo.name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(photo)


def _contents(data: Path | None, count: int) -> Iterator[tuple[str, str, bytes]]:
    """Place in words, file name and bytes of each image that is taken."""
    if data is None:
        for seed in range(min(count, PHOTOS)):
            bgr = cv2.cvtColor(synthetic_photo(seed), cv2.COLOR_RGB2BGR)
            _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])
            yield f"synthetic photo {seed}", "synthetic.jpg", jpeg.tobytes()
    elif data.is_dir():
        for path in _evenly(_image_files(data), count):
            yield str(path), path.name, path.read_bytes()
    else:
        yield from _from_tar(data, count)


def _image_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)


def _from_tar(archive: Path, count: int) -> Iterator[tuple[str, str, bytes]]:
    try:
        with tarfile.open(archive) as tar:
            members = [m for m in tar if m.isfile() and m.name.lower().endswith(EXTENSIONS)]
            for member in _evenly(sorted(members, key=lambda m: m.name), count):
                content = tar.extractfile(member)
                assert content is not None
                yield f"{member.name} in {archive}", Path(member.name).name, content.read()
    except (tarfile.TarError, EOFError):
        raise UserError(f"{archive} is no tar that can be read: give a folder or a tar of images") from None


def _evenly(items: list[T], count: int) -> list[T]:
    """At most `count` of them, evenly spaced."""
    kept = min(count, len(items))
    return [items[index * len(items) // kept] for index in range(kept)]


def _describe(data: Path | None, storage: str, path: Path, photos: int) -> Images:
    beton = open_beton(path)
    widths, heights = (beton.images[side].astype(np.int64) for side in ("width", "height"))
    total = int(beton.sizes.sum())
    origin = data.name if data else "synthetic photo-like images, no real ones"
    repeated = f" repeated to {beton.num_samples:,}" if photos < beton.num_samples else ""
    identity = (
        f"{origin}: {photos} images{repeated}, {storage}, {widths.mean():.0f} x {heights.mean():.0f} pixels on "
        f"average, {total / float((widths * heights).sum()):.2f} bytes per pixel, {human_bytes(total)}, sha256 of "
        f"the .beton {_checksum(path)}"
    )
    return Images(beton=path, num_samples=beton.num_samples, bytes=total, identity=identity)


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
