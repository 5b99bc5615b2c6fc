"""Where images come from: one file for each kind of source.

`source.kind` names one; by default each is asked in turn whether it knows what lies at `source.path`. A new kind is one
file with a `SourceKind` and one line here (docs/extending/source.md).
"""

import os

from engine.config.write import SourceConfig
from engine.data.sources import (
    csv_list,
    flat_val,
    idx,
    image_folder,
    kaggle,
    map_style,
    parquet,
    tar_folder,
    webdataset,
)
from engine.data.sources.access.both_splits import divided, with_same_classes
from engine.data.sources.access.image_names import taken_extensions
from engine.data.sources.access.location import LocalPath, locate
from engine.data.sources.base import Source, SourceKind, Split, printable
from engine.data.sources.image_folder import NoSplitError
from engine.errors import UserError
from engine.registry import Registry, nearest

__all__ = ["KINDS", "Source", "SourceKind", "Split", "open_split", "open_splits"]

AUTO = "auto"

# In the order of probing: a kind that looks closer stands before one that takes more.
_PROBED = (
    map_style.KIND,
    idx.KIND,
    kaggle.KIND,
    flat_val.KIND,
    tar_folder.KIND,
    webdataset.KIND,
    parquet.KIND,
    csv_list.KIND,
    image_folder.KIND,
)

KINDS: Registry[SourceKind] = Registry("source.kind")
for _kind in _PROBED:
    KINDS.register(_kind.name)(_kind)


def open_splits(config: SourceConfig) -> dict[Split, Source]:
    """Train and val of the data set at `config.path`, with the same classes; no image is read yet.

    Raises UserError as open_split does, for classes that differ, and where there is a validation split beside
    `config.split`.
    """
    try:
        kind, train = _open(config, "train")
        if config.extensions and not kind.by_extension:
            raise UserError(
                f"source.extensions: {train.kind} images are taken whatever their names end with: drop the option"
            )
        if not config.split:
            return {"train": train, "val": with_same_classes(train, open_split(config, "val"), config)}
    except NoSplitError as error:
        raise UserError(f"{error}{error.division}") from None
    if config.val_labels:
        raise UserError("source.val_labels: with source.split, val is taken from train: drop one of the two")
    try:
        val = open_split(config, "val")
    except UserError as error:
        path = locate(config)
        if path.kind() == "folder" and any(entry.name == config.val_folder for entry in path.entries()):
            raise
        return divided(train, config, why="" if isinstance(error, NoSplitError) else str(error))
    raise UserError(
        f"source.split takes images of train for validation, but {locate(config)} has a validation split of "
        f"{len(val):,} images: drop the option, or pass the training images alone as source.path"
    )


def open_split(config: SourceConfig, split: Split) -> Source:
    """Scan one split of the data set at `config.path`; no image is read yet.

    Raises UserError for an unknown `config.kind`, a path with nothing there or nothing of that kind, and whatever that
    kind of source refuses: a class without images, a file that was cut short, labels that fit no class, ...
    """
    return _open(config, split)[1]


def _open(config: SourceConfig, split: Split) -> tuple[SourceKind, Source]:
    taken_extensions(config)
    kind, source = _probe(config, split) if config.kind == AUTO else _open_as(config, split)
    if split == "val":
        flat_val.refuse_unused_list(config, source)
    return kind, source


def _probe(config: SourceConfig, split: Split) -> tuple[SourceKind, Source]:
    for kind in _PROBED:
        source = kind.find(config, split)
        if source is not None:
            return kind, source
    raise _nothing_there(config) or UserError(
        f"source.path {locate(config)} is a file of no known kind: pass the data set's folder, its .tar or its "
        ".parquet files"
    )


def _open_as(config: SourceConfig, split: Split) -> tuple[SourceKind, Source]:
    if config.kind not in KINDS.names():
        choices = [AUTO, *KINDS.names()]
        hint = nearest(config.kind, choices)
        raise UserError(f"unknown source.kind {config.kind!r}{hint}; choices: {', '.join(choices)}")
    kind = KINDS[config.kind]
    source = kind.find(config, split) or kind.otherwise(config, split)
    if source is None:
        raise _nothing_there(config) or UserError(
            f"source.path {printable(config.path)} is not what source.kind={kind.name} needs: {kind.help}; pass that, "
            f"or --source.kind={AUTO}"
        )
    return kind, source


def _nothing_there(config: SourceConfig) -> UserError | None:
    path = locate(config)
    if path.kind() != "missing":
        return None
    if isinstance(path, LocalPath) and os.path.islink(path.path):
        return image_folder.leads_nowhere(path)
    return UserError(f"source.path {path} does not exist: pass the folder or file of the data set")
