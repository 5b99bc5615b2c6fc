"""Parquet files as Hugging Face's hub has them: a column of images, encoded, and one of labels, integers or names.

Names of integer labels come from the schema's "huggingface" metadata (a ClassLabel), from a classes.txt beside the
files, or are the label numbers. Text labels are class names, sorted. Labels are read at once; images are read by row
groups, of which each process keeps the last one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.config.write import SourceConfig
from engine.data.sources.access.location import Location, locate
from engine.data.sources.access.parquet_file import ParquetFile, open_parquet, row_group
from engine.data.sources.access.shards import Shards, check_label_numbers, find_shards, listed_class_names
from engine.data.sources.access.stated_counts import refuse_other_counts
from engine.data.sources.base import Source, SourceKind, Split, UnusableImageError, printable
from engine.errors import UserError
from engine.progress import scanning


@dataclass(frozen=True)
class ParquetReader:
    """Reads images by PLACE; quick where they are asked for in the files' order."""

    folder: Location
    files: tuple[str, ...]
    column: str

    def read(self, place: np.void) -> bytes:
        """The image's encoded bytes. Raises UserError naming file and row where there are none."""
        images = row_group(self.folder / self.files[int(place["file"])], int(place["group"]), self.column)
        image = images[int(place["row"])].as_py()
        if isinstance(image, list):
            image = image[0] if image else None
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

    Raises UserError when pyarrow is missing, a file is damaged or lacks a column, files disagree about columns, types
    or classes, or a label is no class.
    """
    shards = find_shards(config, split, ".parquet")
    if shards is None:
        return None
    path = locate(config)
    train = shards if split == "train" else _train(config) or shards
    first = open_parquet(next(iter(train)), config)
    classes = _text_classes(train, config) if first.is_text else first.classes
    ids: list[str] = []
    labels: list[NDArray[np.int64]] = []
    found: list[NDArray[np.void]] = []
    reordered: list[Location] = []
    with scanning(str(path), len(shards.names), "files") as progress:
        for number, shard in enumerate(shards):
            part = open_parquet(shard, config)
            # Where val goes by train's classes, its names need only be among them.
            _refuse_difference(part, first, same_names=split == "train" or config.val_classes != "train")
            values, texts = part.labels()
            stem = shards.names[number].removesuffix(".parquet")
            ids += [f"{stem}/{row:07d}{name}" for row, name in enumerate(part.names())]
            if part.classes is not None and part.classes != classes and len(part):
                check_label_numbers(values.tolist(), part.classes, ids[-len(part) :], str(shard))
                reordered.append(shard)
                texts = part.classes
            labels.append(values if texts is None else _by_name(values, texts, classes or (), part, first))
            found.append(part.places(number))
            progress.reach(number + 1)
    if not ids:
        raise UserError(
            f"the {len(shards.names)} parquet files of {split} in {path} have no rows: get them again"
        )
    refuse_other_counts(config, split, shards, [len(one) for one in labels])
    every = np.concatenate(labels)
    classes = classes or listed_class_names(config, shards)
    return Source(
        kind="parquet",
        classes=check_label_numbers(every.tolist(), classes, ids, str(path)),
        labels=every,
        ids=ids,
        places=np.concatenate(found),
        reader=ParquetReader(shards.folder, shards.names, first.image),
        notes=(
            *shards.notes,
            *_notes(split, first, reordered, config),
            f"{split}: reading parquet in random order is slow; --output.order=source reads it once, in order",
        ),
    )


KIND = SourceKind(
    name="parquet",
    help="parquet files with images and labels: a folder, a file or a pattern",
    find=find,
)


def _train(config: SourceConfig) -> Shards | None:
    """The files of train, with whose columns and classes val's must agree; None where only val is there."""
    try:
        return find_shards(config, "train", ".parquet")
    except UserError:
        return None


def _text_classes(shards: Shards, config: SourceConfig) -> list[str]:
    """The sorted class names in all files of train."""
    return sorted({name for shard in shards for name in open_parquet(shard, config).labels()[1] or ()})


def _refuse_difference(part: ParquetFile, first: ParquetFile, *, same_names: bool) -> None:
    """Raises UserError naming both files where they differ in columns, type of labels or class names."""
    if (part.image, part.label) != (first.image, first.label):
        raise UserError(
            f"{part.path} has other columns than {first.path} ({part.image} and {part.label} instead of {first.image} "
            f"and {first.label}): pass files of one data set, or rename the columns"
        )
    if part.is_text != first.is_text:
        kinds = ["class names" if one.is_text else "integers" for one in (part, first)]
        raise UserError(
            f"column {part.label!r} of {part.path} holds {kinds[0]}, and that of {first.path} {kinds[1]}: write both "
            f"with the same type"
        )
    ours, theirs = part.classes, first.classes
    if ours is None or theirs is None:
        if ours is not theirs:
            with_names, without = (first, part) if ours is None else (part, first)
            raise UserError(
                f"{with_names.path} names its classes, and {without.path} does not, so its numbers may mean others: "
                f"write both with the same list of names"
            )
    elif same_names and sorted(ours) != sorted(theirs):
        only = [name for name in ours if name not in set(theirs)] or [
            name for name in theirs if name not in set(ours)
        ]
        where = part.path if only and only[0] in set(ours) else first.path
        detail = f"{only[0]!r} is only in {where}" if only else "one of them has a name twice"
        raise UserError(
            f"{part.path} has {len(ours)} classes and {first.path} {len(theirs)}, not the same ones: {detail}: write "
            f"both with the same list of names"
        )


def _by_name(
    values: NDArray[np.int64],
    names: Sequence[str],
    classes: Sequence[str],
    part: ParquetFile,
    first: ParquetFile,
) -> NDArray[np.int64]:
    """The labels among `classes` of a file whose own labels are places in `names`."""
    label_of = {name: label for label, name in enumerate(classes)}
    unknown = sorted({names[label] for label in np.unique(values)} - label_of.keys())
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise UserError(
            f"{part.path} has images of class {unknown[0]!r}{more}, of which train ({first.path.parent}) has none: "
            f"remove them, or add some to train"
        )
    return np.array([label_of.get(name, -1) for name in names], np.int64)[values]


def _notes(
    split: Split, first: ParquetFile, reordered: Sequence[Location], config: SourceConfig
) -> Iterator[str]:
    if reordered:
        yield (
            f"{split}: {len(reordered)} files number their classes in another order than {first.path}, such as "
            f"{reordered[0]}: labels are taken by name"
        )
    if first.other_labels and not config.label_column:
        yield (
            f"{split}: labels are from column {first.label!r}; --source.label_column takes another "
            f"({', '.join(map(printable, first.other_labels))})"
        )
