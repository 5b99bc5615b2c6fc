"""One parquet file: which columns are its images and labels, what it says of classes, and its content.

Class names are those of a ClassLabel in the schema's "huggingface" metadata.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.config.write import SourceConfig
from engine.data.sources.access.location import Location
from engine.data.sources.base import printable
from engine.errors import UserError
from engine.limits import free_memory

PLACE = np.dtype([("file", "<u4"), ("group", "<u4"), ("row", "<u4")])
"""Which of a reader's files, which of its row groups, which row of that."""

_IMAGES = ("image", "img", "images", "jpg", "jpeg", "png", "webp", "image_bytes", "picture", "photo")
_LABELS = ("label", "labels", "target", "targets", "fine_label", "cls", "class", "class_id", "label_id")
# Names of what one of the above numbers: taken where none of these is there.
_LABEL_NAMES = ("category", "class_name", "classname", "label_name", "synset", "wnid")


@dataclass(frozen=True)
class ParquetFile:
    """An open file whose columns are known."""

    path: Location
    file: Any
    """pyarrow's."""
    image: str
    label: str
    is_text: bool
    """Whether labels are class names instead of numbers."""
    classes: list[str] | None
    """Number -> name, where the file says it."""
    other_labels: Sequence[str]
    """Further columns that look like labels."""

    def __len__(self) -> int:
        rows: int = self.file.metadata.num_rows
        return rows

    def labels(self) -> tuple[NDArray[np.int64], list[str] | None]:
        """Each row's label; names too if labels are text: then the label is the place of its name among them.

        Raises UserError for rows without a label.
        """
        import pyarrow

        values = read(self.path, lambda: self.file.read(columns=[self.label])).column(0).combine_chunks()
        empty = values.null_count
        if self.is_text:
            coded = read(self.path, lambda: values.cast(pyarrow.large_string()).dictionary_encode())
            names: list[str] = read(self.path, coded.dictionary.to_pylist)
            labels = coded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
            empty += sum(int((labels == place).sum()) for place, name in enumerate(names) if not name.strip())
        if empty:
            raise UserError(
                f"column {self.label!r} of {self.path} has {empty} rows without a label: fill them in"
            )
        if self.is_text:
            return labels, names
        return values.to_numpy(zero_copy_only=False).astype(np.int64), None

    def places(self, number: int) -> NDArray[np.void]:
        """The PLACE of each row, of the reader's file of this number."""
        groups = range(self.file.metadata.num_row_groups)
        counts = [self.file.metadata.row_group(group).num_rows for group in groups]
        places = np.empty(sum(counts), PLACE)
        places["file"] = number
        places["group"] = np.repeat(np.arange(len(counts)), counts)
        places["row"] = np.concatenate([np.arange(count) for count in counts]) if counts else 0
        return places

    def names(self) -> list[str]:
        """For each row "_" and the image's file name where the file says it, else nothing."""
        import pyarrow

        kind = self.file.schema_arrow.field(self.image).type
        if not pyarrow.types.is_struct(kind) or kind.get_field_index("path") < 0:
            return [""] * len(self)
        table = read(self.path, lambda: self.file.read(columns=[f"{self.image}.path"]))
        # A row without an image is refused when it is read.
        paths = [(one or {}).get("path") for one in read(self.path, table.column(0).to_pylist)]
        return [f"_{one.rpartition('/')[2]}" if one else "" for one in paths]


def open_parquet(path: Location, config: SourceConfig) -> ParquetFile:
    """Open a file and find its columns.

    Raises UserError when pyarrow is missing, the file is damaged, has no such column, several, or one of another type.
    """
    file = _open(path)
    schema = file.schema_arrow
    features = _features(schema)
    kinds = {field.name: field.type for field in schema}
    if len(kinds) < len(schema.names):
        raise UserError(f"{path} has two columns of one name ({', '.join(schema.names)}): rename one of them")
    pictures = [name for name, kind in kinds.items() if _is_image(kind)]
    usual = [
        name for name in pictures if name.lower() in _IMAGES or _said(features, name, "_type") == "Image"
    ]
    image = _choose(path, kinds, "image", config.image_column, usual)
    if image not in pictures:
        raise UserError(
            f"column {image!r} of {path} is of type {kinds[image]}: images must be the bytes of image files"
        )
    usual = [name for name in kinds if name.lower() in _LABELS and name != image]
    usual = usual or [name for name in kinds if name.lower() in _LABEL_NAMES and name != image]
    label = _choose(path, kinds, "label", config.label_column, usual)
    is_text = _is_text(path, label, kinds[label])
    names = None if is_text else _said(features, label, "names")
    found = ParquetFile(
        path=path,
        file=file,
        image=image,
        label=label,
        is_text=is_text,
        classes=[str(name) for name in names] if isinstance(names, list) else None,
        other_labels=[
            name
            for name in kinds
            if name != label and ("label" in name.lower() or _said(features, name, "_type") == "ClassLabel")
        ],
    )
    _refuse_several(found)
    return found


def read(path: Location, ask: Callable[[], Any]) -> Any:
    """What `ask` gives. Raises UserError naming the file for whatever pyarrow finds wrong with it."""
    import pyarrow

    try:
        return ask()
    # The last of a text that is none.
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a whole parquet file ({reason}): get it again") from None


@lru_cache(maxsize=1)
def row_group(path: Location, group: int, column: str) -> Any:
    """One row group's images, an arrow array. Raises UserError for one that memory has no room for."""
    file = _opened(path)
    parts = file.metadata.row_group(group)
    columns = [parts.column(number) for number in range(parts.num_columns)]
    need = sum(one.total_uncompressed_size for one in columns if one.path_in_schema.split(".")[0] == column)
    # While it is decompressed, both forms lie in memory.
    if 2 * need > (free := free_memory()):
        raise UserError(
            f"row group {group} of {path} holds {need / 1e9:.1f} GB of images, and {free / 1e9:.1f} GB of memory are "
            "free: write the file again with smaller row groups (row_group_size=1000)"
        )
    table = read(path, lambda: file.read_row_group(group, columns=[column]))
    return table.column(0).combine_chunks()


@lru_cache(maxsize=8)
def _opened(path: Location) -> Any:
    return _open(path)


def _open(path: Location) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{path} is read with pyarrow, which is not installed: pip install pyarrow") from None
    return read(path, lambda: pyarrow.parquet.ParquetFile(_Ranges(path), page_checksum_verification=True))


def _features(schema: Any) -> Any:
    """Hugging Face's description of the columns, whatever it is."""
    try:
        return json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return None


def _said(features: Any, column: str, key: str) -> Any:
    one = features.get(column) if isinstance(features, dict) else None
    return one.get(key) if isinstance(one, dict) else None


def _is_image(kind: Any) -> bool:
    """Whether a column of this type can hold files of images: bytes, a struct with some, or a list of one of these."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_image(kind.value_type)
    if types.is_dictionary(kind):
        return _is_image(kind.value_type)
    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_image(kind.field("bytes").type)
    tests = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_null)
    return any(test(kind) for test in tests)


def _is_text(path: Location, column: str, kind: Any) -> bool:
    from pyarrow import types

    inner = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_string(inner) or types.is_large_string(inner) or types.is_string_view(inner):
        return True
    if not types.is_integer(kind):
        raise UserError(
            f"column {column!r} of {path} is of type {kind}: labels must be integers or class names, one a row; "
            f"--source.label_column=NAME takes another column"
        )
    return False


def _choose(path: Location, kinds: dict[str, Any], what: str, option: str, usual: Sequence[str]) -> str:
    """The column of this name, or else the only one of the usual ones. Raises UserError where it is not just one."""
    if option in kinds:
        return option
    if len(usual) == 1 and not option:
        return usual[0]
    if option or not usual:
        problem = f"no column {option!r}" if option else f"no column of {what}s with a usual name"
        choices: Sequence[str] = list(kinds)
    else:
        problem, choices = f"{len(usual)} columns that may hold the {what}s", usual
    columns = ", ".join(f"{printable(name)} ({kinds[name]})" for name in choices)
    raise UserError(f"{path} has {problem}: pass --source.{what}_column=NAME, one of {columns}")


def _refuse_several(part: ParquetFile) -> None:
    """Raises UserError where a row has a list of several images."""
    metadata = part.file.metadata
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group)
        for index in range(rows.num_columns):
            column = rows.column(index)
            # A list of none or one takes up one place.
            if column.path_in_schema.split(".")[0] == part.image and column.num_values > rows.num_rows:
                raise UserError(
                    f"column {part.image!r} of {part.path} has {column.num_values:,} images in {rows.num_rows:,} rows: "
                    f"write each as a row with its label, or take another column with --source.image_column=NAME"
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
