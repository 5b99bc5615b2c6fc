"""The end of a conversion in shards: both splits merged, and given their names when both are whole."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.config.write import WriteConfig, copy_rules
from engine.data.cluster.shard_folder import SPLITS, ShardFolder
from engine.data.convert.conversion_plan import file_name
from engine.data.convert.journal import rules_as_text
from engine.data.edit.merge import Merged, Origin, merge
from engine.data.edit.shard_copies import CopyRules
from engine.data.sources import Split
from engine.files import sync_folder
from engine.progress import Progress, human_bytes, human_time

MERGING = "merging"
"""The folder in output.folder where merged files lie until both are whole."""


def join(
    folder: ShardFolder, shards: Sequence[str], config: WriteConfig, paths: Mapping[Split, Path]
) -> None:
    """Merge all shards, which are finished, into the files at `paths`. Raises UserError as `merge` does.

    Of files that an interrupted merge has completed, nothing is done again.
    """
    merging = Path(config.output.folder) / MERGING
    merging.mkdir(exist_ok=True)
    here = {split: merging / path.name for split, path in paths.items()}
    if not all(here[split].exists() or paths[split].exists() for split in SPLITS):
        local = folder.path or _fetched(folder, shards, merging)
        for split in SPLITS:
            if not here[split].exists():
                merged = _merge(here[split], split, local, shards, _origin(folder, split, config), config)
                _say(paths[split], len(shards), merged)
    for split in SPLITS:
        if here[split].exists():
            os.replace(here[split], paths[split])
    sync_folder(merging.parent)
    shutil.rmtree(merging)


def _origin(folder: ShardFolder, split: Split, config: WriteConfig) -> Origin:
    return Origin(
        rules=rules_as_text(config.rules), ids=lambda shard: folder.read_plan(shard)[split].images.ids
    )


def _merge(
    output: Path, split: Split, folder: Path, shards: Sequence[str], origin: Origin, config: WriteConfig
) -> Merged:
    rules = copy_rules(config.rules)
    if split == "val":
        # Copies in train are left out of train.
        rules["leak"] = "keep"
    return merge(
        output,
        [folder / file_name(split, shard) for shard in shards],
        val=[folder / file_name("val", shard) for shard in shards] if split == "train" else (),
        rules=CopyRules(**rules),
        origin=origin,
    )


def _say(path: Path, shards: int, merged: Merged) -> None:
    for note in merged.notes:
        print(note, flush=True)
    done = merged.file
    print(
        f"wrote {path}: {done.samples:,} images of {shards:,} shards, {human_bytes(done.bytes)}, "
        f"{human_time(done.seconds)}",
        flush=True,
    )


def _fetched(folder: ShardFolder, shards: Sequence[str], merging: Path) -> Path:
    """A folder of this machine with all shards; those that are there are not fetched again."""
    local = merging / "fetched"
    local.mkdir(exist_ok=True)
    names = [file_name(split, shard) for split in SPLITS for shard in shards]
    left = [name for name in names if not (local / name).exists()]
    with Progress("fetching shards", len(names), "files", done=len(names) - len(left)) as progress:
        for name in left:
            part = local / f"{name}.part"
            folder.fetch(name, part)
            os.replace(part, local / name)
            progress.update(1)
    return local
