"""Lists of images: one CSV file for each split, with a row `path,label` for each image.

Paths are relative to the list's folder, or absolute. Labels are class names, or whole numbers from 0 on, for which a
classes.txt beside the lists may give the names. A first row of column names is recognised; with one, columns may have
any order and there may be others.
"""

import csv
import io
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from engine.config.write import SourceConfig
from engine.data.sources.access.location import LocalPath, Location, locate
from engine.data.sources.access.shards import Shards, check_label_numbers, find_shards, listed_class_names
from engine.data.sources.base import Source, SourceKind, Split, printable
from engine.errors import UserError
from engine.progress import scanning

_ENDING = ".csv"
# Names of columns, the ones taken first where a list has several of them.
_PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img")
_LABELS = ("label", "class", "class_name", "category", "target", "class_id", "label_id", "wnid")

# Not 007, which is a name.
_NUMBER = re.compile("0|-?[1-9][0-9]{0,17}")


class _Row(NamedTuple):
    line: int
    path: str
    label: str
    further: tuple[str, ...] = ()
    """What further columns of labels hold."""


class _Columns(NamedTuple):
    """Where a list has what."""

    path: int = 0
    labels: tuple[int, ...] = (1,)
    """The column of the labels; further ones that may be it."""
    names: tuple[str, ...] = ()
    """Of all columns, where the first row has some."""


@dataclass(frozen=True)
class ListReader:
    """Reads images by their path, absolute or relative to `folder`."""

    folder: Location

    def read(self, place: str) -> bytes:
        """The file's bytes. Raises UserError naming it when it can't be read."""
        return self._at(place).read()

    def where(self, place: str) -> str:
        """The file's path."""
        return str(self._at(place))

    def _at(self, place: str) -> Location:
        return self.folder.at(place) if place.startswith("/") else self.folder / place


def find(config: SourceConfig, split: Split) -> Source | None:
    """The split's list at `config.path`, None where there are no lists.

    Raises UserError naming file and line for a row that is no path and label, a file that is listed twice or missing.
    """
    lists = _lists(config, split)
    if lists is None:
        return None
    if len(lists.names) > 1:
        raise UserError(
            f"source.path {config.path} has {len(lists.names)} lists of {split}, such as {printable(lists.names[0])} "
            f"and {printable(lists.names[1])}: make one of them"
        )
    file = next(iter(lists))
    columns, found = _read(file, config)
    rows = list(found)
    _refuse_unclear(rows, columns, file)
    if not rows:
        raise UserError(f"{file} lists no images: write a row `path,label` for each")
    ids = _ids(rows, file)
    _refuse_missing(rows, ids, file)
    classes, labels = _classes(rows, ids, file, config, lists)
    if split == "val" and _are_numbers(rows):
        _refuse_other_column(columns, file, config)
    return Source(
        kind="CSV list",
        classes=classes,
        labels=np.array(labels, np.int64),
        ids=ids,
        places=ids,
        reader=ListReader(file.parent),
    )


KIND = SourceKind(
    name="csv",
    help="a folder with train.csv and val.csv of rows `path,label`, or a pattern such as '/x/{train,val}_list.csv'",
    find=find,
)


def _lists(config: SourceConfig, split: Split) -> Shards | None:
    path = locate(config)
    if path.name.endswith(_ENDING) and path.kind() != "folder":
        return find_shards(config, split, _ENDING)
    names = {"train": f"{config.train_folder}{_ENDING}", "val": f"{config.val_folder}{_ENDING}"}
    if path.kind() != "folder" or not set(names.values()) <= {entry.name for entry in path.entries()}:
        return None
    if config.kind != KIND.name and _has_class_folders(path, config):
        return None
    return Shards(path, (names[split],))


def _has_class_folders(path: Location, config: SourceConfig) -> bool:
    """Whether the splits' folders hold folders: then it is an image folder, whatever lists lie beside them."""
    folders = [path / name for name in (config.train_folder, config.val_folder) if name]
    return any(
        entry.is_folder for folder in folders if folder.kind() == "folder" for entry in folder.entries()
    )


def _read(file: Location, config: SourceConfig) -> tuple[_Columns, Iterator[_Row]]:
    """A list's columns, and its rows."""
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    cells = _cells(text, file)
    line, first = next(cells, (1, []))
    columns = _header(first, f"{file}, line {line}", config) if first else None
    if first and columns is None:
        cells = chain([(line, first)], cells)
    return columns or _Columns(), (_row(row, columns or _Columns(), file, line) for line, row in cells)


def _cells(text: str, file: Location) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    while True:
        # A quoted field may have several lines: the row is where it begins.
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{file}, line {line}: {error}: check the quotes") from None
        if row is None:
            return
        if row:
            yield line, row


def _header(row: Sequence[str], where: str, config: SourceConfig) -> _Columns | None:
    """The columns of path and label where the row has names; None where it is an image's."""
    names = tuple(cell.strip().lower() for cell in row)
    shown = ", ".join(map(printable, row))
    paths, labels = (
        [names.index(name) for name in ((option.lower(),) if option else known) if name in names]
        for option, known in ((config.image_column, _PATHS), (config.label_column, _LABELS))
    )
    for option, found in (("image", paths), ("label", labels)):
        wanted = getattr(config, f"{option}_column")
        if wanted and not found:
            raise UserError(
                f"{where}: none of the columns {shown} is {wanted!r}: correct --source.{option}_column"
            )
    if not paths and not config.label_column:
        return None
    for option, found in (("image", paths), ("label", labels)):
        if not found:
            usual = f" (or {', '.join(_LABELS[1:])})" if option == "label" else ""
            raise UserError(
                f"{where}: none of the columns {shown} is for {'labels' if option == 'label' else 'paths'}: name it "
                f"{_LABELS[0] if option == 'label' else _PATHS[0]}{usual}, or pass --source.{option}_column=NAME"
            )
    twice = next((names[place] for place in (paths[0], *labels) if names.count(names[place]) > 1), None)
    if twice is not None:
        raise UserError(f"{where} has the column {printable(twice)} twice: rename one of them")
    return _Columns(paths[0], tuple(labels), names)


def _row(row: Sequence[str], columns: _Columns, file: Location, line: int) -> _Row:
    where = f"{file}, line {line}"
    width = len(columns.names) or 2
    if len(row) != width:
        raise UserError(
            f"{where} has {len(row)} column{'s' * (len(row) != 1)}, not {width}: write `path,label`, and quotes around "
            "a path or label that has a comma in it"
        )
    path, (label, *further) = row[columns.path], (row[place].strip() for place in columns.labels)
    if not path.strip():
        raise UserError(f"{where} has no path: write the image's, or remove the row")
    if not label:
        raise UserError(f"{where} has no label ({printable(path)}): write one, or remove the row")
    return _Row(line, path, label, tuple(further))


def _refuse_unclear(rows: Sequence[_Row], columns: _Columns, file: Location) -> None:
    """Raises UserError for two columns of labels that are not two names of the same classes."""
    for number, place in enumerate(columns.labels[1:]):
        pairs = {(row.label, row.further[number]) for row in rows}
        if not len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs}):
            first, second = (columns.names[one] for one in (columns.labels[0], place))
            raise UserError(
                f"{file} has two columns of labels, {first} and {second}, which divide the images differently: pass "
                f"--source.label_column=NAME"
            )


def _refuse_other_column(columns: _Columns, file: Location, config: SourceConfig) -> None:
    """Raises UserError where val's numbers are in a column of another name than train's: they may number others."""
    train = _lists(config, "train")
    theirs = _read(next(iter(train)), config)[0] if train else _Columns()
    if train and columns.names and theirs.names:
        ours, other = (one.names[one.labels[0]] for one in (columns, theirs))
        if ours != other:
            raise UserError(
                f"{file} has labels in column {ours}, and {next(iter(train))} in {other}, which may number other "
                f"classes: rename one of them, or pass --source.label_column=NAME"
            )


def _ids(rows: Sequence[_Row], file: Location) -> list[str]:
    """Each row's path, below the list's folder where it lies there. Raises UserError for a file that is there twice."""
    local = isinstance(file, LocalPath)
    base = (os.path.abspath(file.parent.path) if local else file.parent.path).rstrip("/")
    lines: dict[str, int] = {}
    ids = []
    for row in rows:
        is_absolute = row.path.startswith("/")
        whole = posixpath.normpath(row.path if is_absolute else f"{base}/{row.path}")
        first = lines.setdefault(whole, row.line)
        if first != row.line:
            raise UserError(
                f"{file} lists {printable(row.path)} twice, in lines {first} and {row.line}: remove one of them"
            )
        if whole.startswith(f"{base}/"):
            ids.append(whole[len(base) + 1 :])
        else:
            ids.append(whole if is_absolute else posixpath.normpath(row.path))
    return ids


def _refuse_missing(rows: Sequence[_Row], ids: Sequence[str], file: Location) -> None:
    """Each folder is listed once: of a million images to ask for one by one takes minutes on a server."""
    at = ListReader(file.parent)._at
    by_folder: dict[str, list[int]] = {}
    for number, name in enumerate(ids):
        by_folder.setdefault(posixpath.dirname(name), []).append(number)
    missing: list[int] = []
    with scanning(f"the images of {file}", len(by_folder), "folders") as progress:
        for name, numbers in by_folder.items():
            folder = at(name) if name else file.parent
            there = set()
            if folder.kind() == "folder":
                there = {entry.name for entry in folder.entries() if not (entry.is_folder or entry.is_broken)}
            missing += [number for number in numbers if posixpath.basename(ids[number]) not in there]
            progress.update(1)
    if missing:
        first = rows[min(missing)]
        more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        names = (
            "; if this row has column names, they must be path and label, or those given as --source.image_column and "
            "--source.label_column"
        )
        raise UserError(
            f"{file}, line {first.line}: there is no file {printable(first.path)} in {file.parent}{more}: correct the "
            f"paths, which are relative to the list's folder or absolute{names if first is rows[0] else ''}"
        )


def _classes(
    rows: Sequence[_Row], ids: Sequence[str], file: Location, config: SourceConfig, lists: Shards
) -> tuple[list[str], list[int]]:
    """The class names, and each row's label."""
    if _are_numbers(rows):
        numbers = [int(row.label) for row in rows]
        return check_label_numbers(numbers, listed_class_names(config, lists), ids, str(file)), numbers
    classes = sorted({row.label for row in rows})
    label_of = {name: label for label, name in enumerate(classes)}
    return classes, [label_of[row.label] for row in rows]


def _are_numbers(rows: Sequence[_Row]) -> bool:
    return all(_NUMBER.fullmatch(row.label) for row in rows)
