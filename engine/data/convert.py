"""A whole conversion: scan both splits, compare their classes, write both files or neither.

Everything that can be refused without reading an image is refused before the first byte is written.
"""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

from engine.config.write_schema import WriteConfig
from engine.data.manifest import check_same_classes
from engine.data.progress import human_bytes
from engine.data.sources import Split, open_split
from engine.data.writer import Written, write_split
from engine.errors import UserError, describe_os_error
from engine.files import atomic_write


def convert(config: WriteConfig) -> dict[Split, Path]:
    """Write train.beton and val.beton as `config` says; returns their paths.

    Both get their final names only when both are whole. Raises UserError when the source or an image of it
    cannot be used, a file is there already, or one cannot be written.
    """
    folder = Path(config.output.folder)
    splits: tuple[Split, ...] = get_args(Split)
    paths = {split: folder / f"{split}.beton" for split in splits}
    _refuse_existing(paths, config.output.overwrite)
    sources = {split: open_split(config.source, split) for split in splits}
    check_same_classes(sources["train"].classes, sources["val"].classes, config.source.path)
    for source in sources.values():
        for note in source.notes:
            print(note, flush=True)

    _make_folder(folder)
    for path in paths.values():
        _remove_stale(path)
    written: dict[Split, Written] = {}
    with ExitStack() as stack:
        # val first: it is the smaller one, and a bad image in it is better found before hours of train.
        for split in reversed(splits):
            file = stack.enter_context(atomic_write(paths[split]))
            written[split] = write_split(file, sources[split], split, config.output)
    for split in splits:
        print(_summary(paths[split], written[split]), flush=True)
    return paths


def _refuse_existing(paths: dict[Split, Path], overwrite: bool) -> None:
    for path in paths.values():
        if path.is_dir():
            raise UserError(f"{path} is a folder: choose another --output.folder")
        if path.exists() and not overwrite:
            raise UserError(
                f"{path} is there already: choose another --output.folder, or replace it with "
                f"--output.overwrite=true"
            )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A file without a name, gone when it is closed: shows at once whether the folder can be written to.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise UserError(f"output.folder {folder} is a file, not a folder: choose another") from None
    except OSError as error:
        raise describe_os_error(error, folder, "write into") from None


def _remove_stale(path: Path) -> None:
    """Remove what killed conversions to `path` left behind; files of processes that still run stay."""
    for partial in path.parent.glob(f"{path.name}.partial-*"):
        pid = partial.name.rpartition("-")[2]
        if pid.isdecimal() and not _runs(int(pid)):
            partial.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _summary(path: Path, written: Written) -> str:
    rate = written.samples / max(written.seconds, 1e-9)
    return (
        f"wrote {path}: {written.samples:,} images ({written.modes}), "
        f"{written.classes:,} classes, {human_bytes(written.bytes)}, {written.seconds:.1f} s, "
        f"{rate:,.0f} images/s"
    )
