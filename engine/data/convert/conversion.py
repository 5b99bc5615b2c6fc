"""A whole conversion: scan both splits, compare their classes, write both files or neither.

Everything that can be refused without reading an image is refused before the first byte is written. An interrupted
conversion is resumed when the same command is given again (engine.data.convert.partial_file).
"""

import functools
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import get_args

import numpy as np

from engine.config.write import WriteConfig, copy_rules
from engine.data.convert.chunk import USUAL_CHUNK, chunk_size, make_tasks, record_settings
from engine.data.convert.conversion_plan import Plan, file_name, make_plan
from engine.data.convert.estimate import LEAST_IMAGES, Stages, estimate
from engine.data.convert.existing_files import (
    finished,
    is_under_way,
    other_images,
    refuse_existing,
    remove_stale,
)
from engine.data.convert.journal import changed, fingerprint, rules_as_text
from engine.data.convert.partial_file import Partial, journal_path, partial_path
from engine.data.convert.record import RecordSettings
from engine.data.convert.split_writer import SplitWriter
from engine.data.convert.workers import Encoders, ctrl_c_held_back, default_workers, ended_by_signals
from engine.data.sources import Source, Split, open_splits
from engine.data.sources.access.size_bound import images_bounded
from engine.data.sources.base import printable
from engine.errors import UserError, describe_os_error
from engine.files import sync_folder, told_of_writing
from engine.progress import Progress, human_bytes, human_rate

# val first: it is the smaller one, a bad image in it is better found before hours of train, and train's images are
# looked for in it.
_ORDER: tuple[Split, ...] = tuple(reversed(get_args(Split)))


Watch = Callable[[SplitWriter], None]
"""Called after each chunk and at the end of a split, with the split's writer."""


def convert(
    config: WriteConfig, plans: Mapping[Split, Plan] | None = None, watch: Watch = lambda writer: None
) -> dict[Split, Path]:
    """Write train.beton and val.beton (or a shard of each) as `config` says; returns their paths.

    `plans` are those of both files, where they were made before; the source is then not scanned. Both get their final
    names only when both are whole; where they are there already, of the same source and settings, nothing is done.
    Raises UserError when the source or an image of it cannot be used, another file is there already,
    or one cannot be written, and Interrupted for SIGTERM or SIGUSR1.
    """
    with ended_by_signals():
        return _convert(config, plans, watch)


def _convert(config: WriteConfig, made: Mapping[Split, Plan] | None, watch: Watch) -> dict[Split, Path]:
    output = config.output
    folder = Path(output.folder)
    paths = {split: folder / file_name(split, output.shard) for split in _ORDER}
    under_way = is_under_way(paths, config)
    there = {} if under_way else finished(paths, config)
    plans = dict(made) if made else _plans(config)
    for split, beton in there.items():
        if why := other_images(beton, plans[split], config):
            refuse_existing(paths[split], False, why)
    if there or (under_way and _lacks_only_forgetting(paths, plans, config)):
        how = "interrupted run" if under_way else "the same source and settings"
        print(f"both files in {folder} are complete already ({how}): nothing is left to do", flush=True)
        return {split: paths[split] for split in reversed(_ORDER)}
    make_folder(folder)
    with ExitStack() as stack:
        partials, reasons = _decide(stack, paths, plans, config)
        workers = output.num_workers or default_workers()
        encoders = stack.enter_context(Encoders(workers, output.page_size * 2**20))
        chunk = _chunk_and_estimate(partials, plans, encoders, config)
        # Up to here the conversion may be refused, and the files of an interrupted one are unchanged.
        writers: list[SplitWriter] = []
        try:
            for split in _ORDER:
                remove_stale(paths[split])
                val = writers[0] if writers else None
                writers.append(_begin(partials[split], reasons[split], plans[split], config, val))
            summaries = _write(writers, encoders, config, chunk, watch)
        except BaseException:
            _say_what_is_kept(writers)
            raise
    for split in reversed(_ORDER):
        print(summaries[split], flush=True)
    return {split: paths[split] for split in reversed(_ORDER)}


def scanned(config: WriteConfig) -> dict[Split, Source]:
    """Both splits of the data set, what there is to be said of them said. Raises UserError as open_splits does."""
    sources = open_splits(config.source)
    for split, source in sources.items():
        for note in (*source.notes, *_empty_classes(split, source)):
            print(f"note: {note}", flush=True)
    return sources


def _plans(config: WriteConfig) -> dict[Split, Plan]:
    sources = scanned(config)
    if config.output.shard and {*copy_rules(config.rules).values()} != {"keep"}:
        raise UserError(
            "rules.duplicate, rules.leak and rules.conflict need all images, and --output.shard has only some: leave "
            "them at keep here, and pass --duplicate, --leak or --conflict to python -m engine merge"
        )
    return {split: make_plan(source, split, config.output) for split, source in sources.items()}


def _empty_classes(split: Split, source: Source) -> list[str]:
    """A note where classes have no images, as with labels that are counted from 1."""
    counts = np.bincount(np.asarray(source.labels, np.int64), minlength=len(source.classes))
    empty = np.flatnonzero(counts == 0)
    if not len(empty):
        return []
    example = printable(source.classes[int(empty[0])])
    return [f"{split}: {len(empty):,} of {len(counts):,} classes have no images, such as {example}"]


def _lacks_only_forgetting(paths: dict[Split, Path], plans: dict[Split, Plan], config: WriteConfig) -> bool:
    """Whether an earlier run was ended while it removed the journals, both files complete; removes what is left."""
    rules = rules_as_text(config.rules)
    gone = [path for path in paths.values() if not journal_path(path).exists()]
    left = [split for split in _ORDER if paths[split] not in gone]
    if not gone or not all(path.is_file() for path in paths.values()):
        return False
    for split in left:
        if not Partial(paths[split]).is_whole(fingerprint(plans[split], config), rules):
            return False
    for split in left:
        journal_path(paths[split]).unlink()
    return True


def _decide(
    stack: ExitStack, paths: dict[Split, Path], plans: dict[Split, Plan], config: WriteConfig
) -> tuple[dict[Split, Partial], dict[Split, str]]:
    """Both files as an interrupted run has left them, and for each the reason why it can't be resumed, or "".

    Nothing is changed yet. Raises UserError when another conversion is at it, or a file is there already.
    """
    partials: dict[Split, Partial] = {}
    reasons: dict[Split, str] = {}
    restart = ""
    for split in _ORDER:
        path, plan = paths[split], plans[split]
        paths_of_it = path, partial_path(path), journal_path(path)
        with images_bounded(config.rules), told_of_writing(*paths_of_it):
            partial = partials[split] = stack.enter_context(Partial(path))
            marks = fingerprint(plan, config), rules_as_text(config.rules)
            reasons[split] = partial.decide(*marks, functools.partial(changed, plan.images), restart)
            if not partial.is_named:
                refuse_existing(path, config.output.overwrite)
        # Which training images are also in val is known only as long as val stays what it was.
        if partial.kept.done < len(plan):
            restart = "the validation split is converted again"
    return partials, reasons


def _chunk_and_estimate(
    partials: dict[Split, Partial], plans: dict[Split, Plan], encoders: Encoders, config: WriteConfig
) -> int:
    """Images in a chunk; prints the estimate where there are enough images to be worth a sample."""
    images = sum(map(len, plans.values()))
    left = images - sum(partial.kept.done for partial in partials.values())
    if left < LEAST_IMAGES:
        return USUAL_CHUNK
    expected = estimate([plans[split] for split in _ORDER], encoders, record_settings(config))
    there = sum(partial.on_disk for partial in partials.values())
    print(
        expected.check(Path(config.output.folder), images, left, there, encoders.num_workers),
        flush=True,
    )
    return chunk_size(expected.bytes, expected.seconds)


def _begin(
    partial: Partial, why: str, plan: Plan, config: WriteConfig, val: SplitWriter | None
) -> SplitWriter:
    """The split's writer, resumed, or at its start (where there is a reason, `why`)."""
    if why:
        print(f"note: {plan.split}: restarting, {partial.partial} can't be resumed: {why}", flush=True)
    with told_of_writing(partial.path, partial.partial, journal_path(partial.path)):
        partial.begin()
        writer = SplitWriter(partial, plan, config, val)
        for entry in partial.entries():
            writer.replay(entry)
    if 0 < writer.done < len(plan):
        print(
            f"{plan.split}: resuming at image {writer.done:,} of {len(plan):,} (interrupted run)",
            flush=True,
        )
    return writer


def _write(
    writers: list[SplitWriter], encoders: Encoders, config: WriteConfig, chunk: int, watch: Watch
) -> dict[Split, str]:
    """Write the rest of both files and give them their names; returns a summary of each."""
    settings, folder = record_settings(config), Path(config.output.folder)
    summaries: dict[Split, str] = {}
    for writer in writers:
        path = writer.partial.path
        with told_of_writing(path, writer.partial.partial):
            stages = _write_split(writer, encoders, settings, chunk, watch)
            writer.finish()
            watch(writer)
            summaries[writer.plan.split] = _summary(path, writer, stages)
    for writer in writers:
        with told_of_writing(writer.partial.path, writer.partial.partial):
            writer.partial.rename()
            sync_folder(folder)
    for writer in writers:
        writer.partial.forget()
    return summaries


def _write_split(
    writer: SplitWriter, encoders: Encoders, settings: RecordSettings, chunk: int, watch: Watch
) -> Stages:
    """Encode and write the rest of a split's images; returns what took how long."""
    plan, partial, before = writer.plan, writer.partial, writer.done
    stages = Stages(workers=encoders.num_workers)
    chunks = encoders.encode(make_tasks(plan, before, chunk, settings))
    # Closed at once on an error here, a full disk for example, so that no worker outlives it.
    with closing(chunks), Progress(plan.split, len(plan), done=before, size=writer.bytes) as progress:
        try:
            for records, payload in chunks:
                with stages.is_writing():
                    writer.take(records, payload)
                    if partial.due():
                        # Ctrl-C between taking an entry and keeping it would lose it.
                        with ctrl_c_held_back():
                            partial.keep(writer.entry())
                stages.add(records)
                progress.update(writer.done - progress.done, size=writer.bytes, rejected=len(writer.rejects))
                watch(writer)
        except OSError:
            # How much of the last write is there is unknown.
            raise
        except BaseException:
            partial.keep_now(writer.entry())
            raise
    stages.total = progress.seconds
    return stages


def _say_what_is_kept(writers: list[SplitWriter]) -> None:
    kept = [
        f"{writer.partial.kept.done:,} of {len(writer.plan):,} {writer.plan.split} images"
        for writer in writers
    ]
    if any(writer.partial.kept.done for writer in writers):
        folder = writers[0].partial.path.parent
        print(f"kept in {folder}: {', '.join(kept)}; run the same command again to resume", flush=True)


def make_folder(folder: Path) -> None:
    """Make it, where it is missing. Raises UserError where it can't be made or written into."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A file without a name, gone when it is closed: shows at once whether the folder can be written to.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise UserError(f"output.folder {folder} is a file, not a folder: choose another") from None
    except OSError as error:
        raise describe_os_error(error, folder, "write into") from None


def _summary(path: Path, writer: SplitWriter, stages: Stages) -> str:
    """The lines printed about a finished file."""
    lines = [
        f"wrote {path}: {writer.stored:,} images ({writer.modes()}), {len(writer.plan.images.classes):,} classes, "
        f"{human_bytes(writer.partial.on_disk)} on disk, {stages.total:.1f} s, "
        f"{human_rate(stages.images, stages.total, 'images')}"
    ]
    if stages.images:
        lines.append(f"  {human_rate(stages.bytes, stages.total, 'bytes')}, {stages.describe()}")
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(writer.odd.items()))
    if kinds:
        lines.append(f"  unusual images by kind: {kinds}; {len(writer.rejects):,} left out")
    if writer.conflict:
        lines.append(
            f"  warning: {writer.odd['conflict']:,} images have the same content as one of another class, so a label "
            f"is wrong (rules.conflict={writer.rules['conflict']}), such as {printable(writer.conflict)}"
        )
    if stages.warned:
        lines.append(f"  libraries warned of {stages.warned:,} images, such as {printable(stages.warning)}")
    if writer.rejects:
        lines.append(f"  `python -m engine inspect {path}` lists them with the reasons")
    return "\n".join(lines)
