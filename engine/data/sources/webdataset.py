"""WebDataset shards: tars in which the files of one sample share a key (`key.jpg` and `key.cls` or `key.json`).

A label is the integer in .cls, or "label" of .json. Samples keep the shards' order. Class names are the lines of
a classes.txt beside the shards, or else the label numbers.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby, islice

import numpy as np
from numpy.typing import NDArray

from engine.config.write import SourceConfig
from engine.data.sources.access.image_names import is_image
from engine.data.sources.access.location import Location, locate
from engine.data.sources.access.shards import check_label_numbers, find_shards, listed_class_names
from engine.data.sources.access.tar_index import Member, TarReader, Window, members, places
from engine.data.sources.base import Source, SourceKind, Split, printable
from engine.errors import UserError
from engine.progress import scanning

_LABELS = (".cls", ".json")


def find(config: SourceConfig, split: Split) -> Source | None:
    """The split's shards at `config.path`, a folder, shard or pattern; None where there are no tars.

    Raises UserError for a sample without image or label, with two, with a label that is no class, and the like.
    """
    path = locate(config)
    if path.kind() == "file" and not is_webdataset(path):
        return None
    shards = find_shards(config, split, ".tar")
    if shards is None:
        return None
    ids: list[str] = []
    labels: list[int] = []
    found: list[NDArray[np.void]] = []
    with scanning(str(path), len(shards.names), "shards") as progress:
        for number, shard in enumerate(shards):
            stem = shards.names[number].removesuffix(".tar")
            images = []
            for image, label in _samples(shard):
                ids.append(f"{stem}/{image.name}")
                labels.append(label)
                images.append(image)
            found.append(places(images, number))
            progress.reach(number + 1)
    if not ids:
        raise UserError(
            f"the {len(shards.names)} shards of {split} in {path} hold no samples: get them again"
        )
    if len(set(ids)) < len(ids):
        repeated = next(one for one, two in zip(sorted(ids), sorted(ids)[1:], strict=False) if one == two)
        raise UserError(
            f"sample {printable(repeated)} is there twice in the shards of {path}: keep one of each"
        )
    return Source(
        kind="WebDataset",
        classes=check_label_numbers(labels, listed_class_names(config, shards), ids, str(path)),
        labels=np.array(labels, np.int64),
        ids=ids,
        places=np.concatenate(found),
        reader=TarReader(shards.folder, shards.names),
        notes=shards.notes,
    )


KIND = SourceKind(
    name="webdataset",
    help="WebDataset shards: a folder, a .tar or a pattern",
    find=find,
)


def is_webdataset(tar: Location) -> bool:
    """Whether the first members of a .tar are those of a WebDataset shard."""
    if not tar.name.endswith(".tar"):
        return False
    return any(member.name.endswith(_LABELS) for member in islice(members(Window(tar, 4096)), 16))


def _samples(shard: Location) -> Iterator[tuple[Member, int]]:
    """Image and label of each sample of a shard."""
    window = Window(shard)
    for key, group in groupby(members(window), _key):
        files = list(group)
        images = [member for member in files if is_image(member.name) and _key(member) == _stem(member.name)]
        where = f"sample {printable(key)} of {shard}"
        if len(images) != 1:
            names = ", ".join(printable(member.name) for member in files)
            raise UserError(
                f"{where} has {len(images) or 'no'} images ({names}): it must have one, and a label"
            )
        yield images[0], _label(files, window, where)


def _key(member: Member) -> str:
    """The name up to the first dot of its last part."""
    folder, slash, name = member.name.rpartition("/")
    return folder + slash + name.split(".")[0]


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _label(files: Sequence[Member], window: Window, where: str) -> int:
    by_ending = {member.name[len(_key(member)) :]: member for member in files}
    for ending in _LABELS:
        if ending not in by_ending:
            continue
        text = window.read(by_ending[ending].offset, by_ending[ending].size)
        try:
            value = int(text) if ending == ".cls" else json.loads(text)["label"]
        except (ValueError, KeyError, TypeError):
            value = None
        if type(value) is not int:
            raise UserError(f"{where}: its {ending} holds no integer label, but {printable(text[:60])}")
        return value
    raise UserError(f"{where} has no label ({' or '.join(_LABELS)})")
