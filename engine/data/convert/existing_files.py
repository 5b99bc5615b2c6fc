"""What lies already where a conversion is to write: its own finished files, those of an interrupted run, or others'."""

from pathlib import Path

import numpy as np

from engine.config.write import WriteConfig
from engine.data.beton.manifest import Manifest
from engine.data.beton.reader import Beton, open_beton
from engine.data.convert.chunk import encode_chunk, make_tasks, record_settings
from engine.data.convert.conversion_plan import Plan
from engine.data.convert.journal import rules_as_text, settings, versions
from engine.data.convert.partial_file import LOOKED_AT, journal_path
from engine.data.sources import Split
from engine.errors import UserError, describe_os_error
from engine.system import runs

# Rules by which an image was left out for another one's sake: it can't be judged alone.
_OF_COPIES = ("duplicate", "leak", "conflict")


def is_under_way(paths: dict[Split, Path], config: WriteConfig) -> bool:
    """Whether a conversion to these files was begun and not ended."""
    try:
        return any(journal_path(path).exists() for path in paths.values())
    # Above all where the folder must not be looked into, or its name is too long.
    except OSError as error:
        raise describe_os_error(error, config.output.folder, "write into") from None


def refuse_existing(path: Path, overwrite: bool, why: str = "") -> None:
    """Raise UserError where the file is there and may not be replaced; `why` it is not what is to be written."""
    if path.is_dir():
        raise UserError(f"{path} is a folder: choose another --output.folder")
    if path.exists() and not overwrite:
        raise UserError(
            f"{path} exists already: {f'{why}; ' if why else ''}choose another --output.folder, or replace it with "
            "--output.overwrite=true"
        )


def finished(paths: dict[Split, Path], config: WriteConfig) -> dict[Split, Beton]:
    """The files, where both are there and were made with these settings; else none.

    Raises UserError where a file is there that is not to be replaced, and is of other settings or not complete.
    """
    if config.output.overwrite or not all(path.is_file() for path in paths.values()):
        for path in paths.values():
            refuse_existing(path, config.output.overwrite)
        return {}
    betons: dict[Split, Beton] = {}
    for split, path in paths.items():
        try:
            betons[split] = open_beton(path)
        except UserError:
            refuse_existing(path, False)
        if why := _other_settings(betons[split].manifest, split, config):
            refuse_existing(path, False, why)
    return betons


def _other_settings(manifest: Manifest | None, split: Split, config: WriteConfig) -> str:
    """The first setting with which the file was made otherwise than `config` says, in words, or ""."""
    if manifest is None or manifest.created_by != "write_dataset.py" or manifest.split != split:
        return "it was not written by a conversion to this name"
    output = config.output
    others = {"order": output.order, "shard": output.shard, "license": output.license}
    theirs = {"order": manifest.order, "shard": manifest.shard, "license": manifest.license}
    wanted, found = (
        {name if "." in name else f"output.{name}": value for name, value in one.items()}
        for one in (settings(config) | others, manifest.settings | theirs)
    )
    wanted |= {f"rules.{name}": rule for name, rule in rules_as_text(config.rules).items()}
    found |= {f"rules.{name}": rule for name, rule in manifest.rules.items()}
    wanted |= {f"version of {name}": version for name, version in versions().items()}
    found |= {f"version of {name}": version for name, version in manifest.versions.items()}
    for name, value in wanted.items():
        if found.get(name) != value:
            return f"it was made with {name}={found.get(name, '(unknown)')}, not {value}"
    return ""


def other_images(beton: Beton, plan: Plan, config: WriteConfig) -> str:
    """Why the plan's images would not give this file, whose settings are the same, or "".

    All ids and labels are compared; LOOKED_AT of the images, and as many of those that were left out, are made again.
    """
    manifest, images = beton.manifest, plan.images
    assert manifest is not None
    kinds = {name: kind for name, kind, _ in manifest.rejects}
    stored = np.array([number for number, name in enumerate(images.ids) if name not in kinds], np.int64)
    left_out = [number for number, name in enumerate(images.ids) if kinds.get(name, "leak") not in _OF_COPIES]
    if (
        (images.kind, tuple(images.classes)) != (manifest.source, manifest.classes)
        or tuple(images.ids[number] for number in stored) != manifest.ids
        or not np.array_equal(np.asarray(images.labels, np.int64)[stored], beton.labels)
        or len(stored) + len(kinds) != len(plan)
    ):
        return "it was made of other images"
    samples = _spread(len(stored))
    again = np.concatenate([stored[samples], np.array(left_out, np.int64)[_spread(len(left_out))]])
    try:
        records = [
            encode_chunk(task)[0] for task in make_tasks(plan.part(again), 0, 8, record_settings(config))
        ]
    except UserError as error:
        return f"one of its images cannot be used any more ({error})"
    checksums = [crc for one in records for crc in one.stored["crc32"].tolist()]
    same = beton.checksums is not None and checksums == beton.checksums[samples].tolist()
    return "" if same else "its images have changed since"


def _spread(count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Up to LOOKED_AT numbers below `count`, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(np.int64))


def remove_stale(path: Path) -> None:
    """Remove what earlier versions left of killed conversions to `path`; files of processes that still run stay."""
    for partial in path.parent.glob(f"{path.name}.partial-*"):
        pid = partial.name.rpartition("-")[2]
        if pid.isdecimal() and not runs(int(pid)):
            partial.unlink(missing_ok=True)
