"""Parquet files as Hugging Face's hub has them: a column of images, encoded, and one of integer labels.

Class names come from the schema's "huggingface" metadata (a ClassLabel), from a classes.txt beside the files, or
are the label numbers. Labels are read at once; images are read by row groups, of which each process keeps the last one.
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.config.write import SourceConfig
from engine.data.sources.access.location import Location, locate
from engine.data.sources.access.shards import check_label_numbers, find_shards, listed_class_names
from engine.data.sources.base import Source, SourceKind, Split, UnusableImageError
from engine.errors import UserError
from engine.progress import scanning

PLACE = np.dtype([("file", "<u4"), ("group", "<u4"), ("row", "<u4")])
"""Which of a reader's files, which of its row groups, which row of that."""

_IMAGE_COLUMNS, _LABEL_COLUMNS = ("image", "img"), ("label", "labels")


@dataclass(frozen=True)
class ParquetReader:
    """Reads images by PLACE; quick where they are asked for in the files' order."""

    folder: Location
    files: tuple[str, ...]
    column: str

    def read(self, place: np.void) -> bytes:
        """The image's encoded bytes. Raises UserError naming file and row where there are none."""
        images = _row_group(self.folder / self.files[int(place["file"])], int(place["group"]), self.column)
        image = images[int(place["row"])].as_py()
        content = image.get("bytes") if isinstance(image, dict) else image
        if not isinstance(content, bytes):
            raise UnusableImageError(
                f"cannot read {self.where(place)}: it holds no image bytes, only a path or nothing"
            )
        return content

    def where(self, place: np.void) -> str:
        """The file's path, the row group and the row in it."""
        path = self.folder / self.files[int(place["file"])]
        return f"row {int(place['row'])} of row group {int(place['group'])} of {path}"


def find(config: SourceConfig, split: Split) -> Source | None:
    """The split's .parquet files at `config.path`, a folder, file or pattern; None where there are none.

    Raises UserError when pyarrow is missing, a file is damaged or lacks a column, or a label is no class.
    """
    shards = find_shards(config, split, ".parquet")
    if shards is None:
        return None
    path, first = locate(config), next(iter(shards))
    image, label = _columns(_open(first), first)
    ids: list[str] = []
    labels: list[NDArray[np.int64]] = []
    found: list[NDArray[np.void]] = []
    with scanning(str(path), len(shards.names), "files") as progress:
        for number, shard in enumerate(shards):
            file = _open(shard)
            if _columns(file, shard) != (image, label):
                raise UserError(f"{shard} has other columns than {first}: pass files of one data set")
            labels.append(_labels(file, label, shard))
            found.append(_places(file, number))
            stem = shards.names[number].removesuffix(".parquet")
            ids += [f"{stem}/{row:07d}{name}" for row, name in enumerate(_names(file, image, shard))]
            progress.reach(number + 1)
    if not ids:
        raise UserError(
            f"the {len(shards.names)} parquet files of {split} in {path} have no rows: get them again"
        )
    every = np.concatenate(labels)
    names = _class_names(_open(first), label) or listed_class_names(config, shards)
    return Source(
        kind="parquet",
        classes=check_label_numbers(every.tolist(), names, ids, str(path)),
        labels=every,
        ids=ids,
        places=np.concatenate(found),
        reader=ParquetReader(shards.folder, shards.names, image),
        notes=(
            *shards.notes,
            f"{split}: reading parquet in random order is slow; --output.order=source reads it once, in order",
        ),
    )


KIND = SourceKind(
    name="parquet",
    help="parquet files with images and labels: a folder, a file or a pattern",
    find=find,
)


class _Ranges(io.RawIOBase):
    """A location as a file that pyarrow can read here and there."""

    def __init__(self, path: Location) -> None:
        self._path, self._size, self._place = path, path.size(), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._size - self._place, 0)
        data = self._path.read_range(self._place, left if size is None or size < 0 else min(size, left))
        self._place += len(data)
        return data


def _open(path: Location) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{path} is read with pyarrow, which is not installed: pip install pyarrow") from None
    return _read(path, lambda: pyarrow.parquet.ParquetFile(_Ranges(path), page_checksum_verification=True))


def _read(path: Location, read: Callable[[], Any]) -> Any:
    """What `read` gives. Raises UserError naming the file for whatever pyarrow finds wrong with it."""
    import pyarrow

    try:
        return read()
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a whole parquet file ({reason}): get it again") from None


def _columns(file: Any, path: Location) -> tuple[str, str]:
    """The names of the image and of the label column."""
    schema = file.schema_arrow
    image = next((name for name in _IMAGE_COLUMNS if name in schema.names), None)
    label = next((name for name in _LABEL_COLUMNS if name in schema.names), None)
    if image is None or label is None:
        raise UserError(
            f"{path} has the columns {', '.join(schema.names)}: it needs one of images ({' or '.join(_IMAGE_COLUMNS)}) "
            f"and one of labels ({' or '.join(_LABEL_COLUMNS)})"
        )
    return image, label


def _labels(file: Any, column: str, path: Location) -> NDArray[np.int64]:
    import pyarrow

    kind = file.schema_arrow.field(column).type
    if not pyarrow.types.is_integer(kind):
        raise UserError(f"column {column!r} of {path} is of type {kind}: labels must be integers")
    values = _read(path, lambda: file.read(columns=[column])).column(0)
    if values.null_count:
        raise UserError(
            f"column {column!r} of {path} has {values.null_count} rows without a label: fill them in"
        )
    labels: NDArray[np.int64] = values.to_numpy().astype(np.int64)
    return labels


def _places(file: Any, number: int) -> NDArray[np.void]:
    counts = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    places = np.empty(sum(counts), PLACE)
    places["file"] = number
    places["group"] = np.repeat(np.arange(len(counts)), counts)
    places["row"] = np.concatenate([np.arange(count) for count in counts]) if counts else 0
    return places


def _names(file: Any, column: str, path: Location) -> list[str]:
    """For each row "_" and the image's file name where the file says it, else nothing."""
    kind = file.schema_arrow.field(column).type
    if "path" not in [kind.field(index).name for index in range(kind.num_fields)]:
        return [""] * file.metadata.num_rows
    table = _read(path, lambda: file.read(columns=[f"{column}.path"]))
    # A row without an image is refused when it is read.
    paths = [(one or {}).get("path") for one in table.column(0).to_pylist()]
    return [f"_{one.rpartition('/')[2]}" if one else "" for one in paths]


def _class_names(file: Any, column: str) -> list[str] | None:
    """The names of a ClassLabel in Hugging Face's description of the columns."""
    try:
        features = json.loads((file.schema_arrow.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


@lru_cache(maxsize=1)
def _row_group(path: Location, group: int, column: str) -> Any:
    """One row group's images, an arrow array."""
    table = _read(path, lambda: _opened(path).read_row_group(group, columns=[column]))
    return table.column(0).combine_chunks()


@lru_cache(maxsize=8)
def _opened(path: Location) -> Any:
    return _open(path)
