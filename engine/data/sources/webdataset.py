"""WebDataset shards: tars in which the files of one sample share a key (`key.jpg` and `key.cls` or `key.json`).

A key ends at the first dot of the name, or at the last where only that gives each image its label. A label is the
integer in .cls, or "label" of .json. Samples keep the shards' order. Class names are the lines of a classes.txt beside
the shards, or else the label numbers.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice

import numpy as np
from numpy.typing import NDArray

from engine.config.write import SourceConfig
from engine.data.sources.access.image_names import OTHER_EXTENSIONS, is_image, taken_extensions, types
from engine.data.sources.access.location import Location, locate
from engine.data.sources.access.shards import check_label_numbers, find_shards, listed_class_names
from engine.data.sources.access.stated_counts import refuse_other_counts
from engine.data.sources.access.tar_index import Member, TarReader, Window, members, places
from engine.data.sources.base import Source, SourceKind, Split, printable
from engine.errors import UserError
from engine.progress import scanning

_LABELS = (".cls", ".json")
# More is no label; it would be read into memory.
_MOST_BYTES = 2**24

_DOTS = "A sample's key ends at the first dot: pack the files again with no other dots in it (22_05.jpg for 22.05.jpg)"


def find(config: SourceConfig, split: Split) -> Source | None:
    """The split's shards at `config.path`, a folder, shard or pattern; None where there are no tars.

    Raises UserError for a sample without image or label, with two, with a label that is no class, for missing shards or
    samples, and the like.
    """
    path = locate(config)
    if path.kind() == "file" and not is_webdataset(path):
        return None
    shards = find_shards(config, split, ".tar")
    if shards is None:
        return None
    taken = taken_extensions(config)
    ids: list[str] = []
    labels: list[int] = []
    counts: list[int] = []
    found: list[NDArray[np.void]] = []
    with scanning(str(path), len(shards.names), "shards") as progress:
        for number, shard in enumerate(shards):
            stem = shards.names[number].removesuffix(".tar")
            images = []
            for image, label in _samples(shard, taken):
                ids.append(f"{stem}/{image.name}")
                labels.append(label)
                images.append(image)
            counts.append(len(images))
            found.append(places(images, number))
            progress.reach(number + 1)
    if not ids:
        raise UserError(
            f"the {len(shards.names)} shards of {split} in {path} hold no samples: get them again"
        )
    refuse_other_counts(config, split, shards, counts)
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
    by_extension=True,
    find=find,
)


def is_webdataset(tar: Location) -> bool:
    """Whether the first members of a .tar are those of a WebDataset shard."""
    if not tar.name.endswith(".tar"):
        return False
    return any(member.name.endswith(_LABELS) for member in islice(members(Window(tar, 4096)), 16))


def _samples(shard: Location, taken: tuple[str, ...]) -> Iterator[tuple[Member, int]]:
    """Image and label of each sample of a shard."""
    window = Window(shard)
    for key, group in groupby(members(window), _key):
        files = list(group)
        numbers = {one.name: _number(one, window) for one in files if one.name.endswith(_LABELS)}
        for stem, parts in _divided(
            key, files, numbers, taken, f"sample {printable(key)} of {shard}"
        ).items():
            where = f"sample {printable(stem)} of {shard}"
            image = _image(stem, parts, taken, where)
            yield image, _label(stem, parts, numbers, window, where)


def _divided(
    key: str, files: list[Member], numbers: Mapping[str, int | None], taken: tuple[str, ...], where: str
) -> dict[str, list[Member]]:
    """One sample's files by its key, or those of several: 22.05.jpg, 22.05.cls, 22.10.jpg, 22.10.cls are two.

    They are where each image has a label of the same name up to the last dot, and the reverse. Raises UserError where
    the first dot is as likely the key's end: a.jpg, a.cls, a.crop.jpg, a.crop.cls are two samples or parts of one.
    """
    groups: dict[str, list[Member]] = {}
    for one in files:
        if is_image(one.name, taken) or numbers.get(one.name) is not None:
            groups.setdefault(_stem(one.name), []).append(one)
    whole = [stem for stem, group in groups.items() if len({is_image(one.name, taken) for one in group}) == 2]
    if len(whole) > 1 and key in whole:
        names = " and ".join(printable(groups[stem][0].name) for stem in whole[:2])
        raise UserError(f"{where} has {len(whole)} images with labels ({names}): {_DOTS}")
    return groups if 1 < len(whole) == len(groups) else {key: files}


def _image(key: str, files: Sequence[Member], taken: tuple[str, ...], where: str) -> Member:
    """The image whose name has no other dot; one that has where it is the only one."""
    every = [one for one in files if is_image(one.name, taken)]
    images = [one for one in every if _stem(one.name) == key] or every
    if len(images) == 1:
        return images[0]
    names = ", ".join(printable(one.name) for one in files)
    advice = f". {_DOTS}" if any(_stem(one.name) != key for one in every) else ""
    if not every and (others := [one.name for one in files if is_image(one.name, OTHER_EXTENSIONS)]):
        advice = f". --source.extensions={types(others)} takes images of other types"
    raise UserError(
        f"{where} has {len(images) or 'no'} images ({names}): it must have one, and a label{advice}"
    )


def _key(member: Member) -> str:
    """The name up to the first dot of its last part."""
    folder, slash, name = member.name.rpartition("/")
    return folder + slash + name.split(".")[0]


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _number(member: Member, window: Window) -> int | None:
    """The integer in a label's file; None where there is none."""
    if member.size > _MOST_BYTES:
        return None
    text = window.read(member.offset, member.size)
    try:
        value = int(text) if member.name.endswith(".cls") else json.loads(text)["label"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if type(value) is int else None


def _label(
    key: str, files: Sequence[Member], numbers: Mapping[str, int | None], window: Window, where: str
) -> int:
    """The label: that of the names without other dots, if any has one. Where there are several they must agree."""
    every = [one for one in files if one.name in numbers]
    found = [one for one in every if _stem(one.name) == key] or every
    # A .cls is nothing but a label.
    found.sort(key=lambda one: one.name.endswith(".json"))
    for one in found:
        ending = one.name[len(_stem(one.name)) :]
        if numbers[one.name] is None and (ending == ".cls" or one is found[0]):
            text = window.read(one.offset, min(one.size, 60))
            raise UserError(f"{where}: its {ending} holds no integer label, but {printable(text)}")
    values = {one.name: numbers[one.name] for one in found if numbers[one.name] is not None}
    if len(set(values.values())) > 1:
        said = ", ".join(f"{value} in {printable(name)}" for name, value in values.items())
        raise UserError(f"{where} has two labels ({said}): correct one of them")
    for value in values.values():
        if value is not None:
            return value
    raise UserError(f"{where} has no label ({' or '.join(_LABELS)})")
