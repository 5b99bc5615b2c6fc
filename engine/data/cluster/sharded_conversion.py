"""A conversion in shards: begin or continue it, let an executor convert what is missing, merge.

    scan the source once -> plans of all shards -> attempts, until each shard has its mark -> merge -> remove shards

The folder of the shards says how far it is (shard_folder.py), so the same command continues after any end of this
process or of others. This process holds the lists of the images until the plans are written, and afterwards a few
numbers for each shard.
"""

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from engine.config.write import WriteConfig
from engine.data.cluster.attempt import Attempt, is_kill
from engine.data.cluster.executors import Executor, open_executor
from engine.data.cluster.join import MERGING, join
from engine.data.cluster.shard_folder import SPLITS, Begun, ShardFolder, Tally
from engine.data.cluster.shard_process import shard_rules
from engine.data.convert.conversion import convert, make_folder, scanned
from engine.data.convert.conversion_plan import choose_order, file_name, shard_plans
from engine.data.convert.existing_files import refuse_existing
from engine.data.convert.journal import rules_as_text, versions
from engine.data.convert.partial_file import concerns_done
from engine.data.convert.workers import ended_by_signals
from engine.data.sources import Split
from engine.errors import UserError
from engine.progress import Progress

_SHARDS_PER_SLOT = 4

# An attempt that ends twice with the same words and no further image done ends the conversion; one that was killed may
# do so more often.
_SAME_ERRORS, _KILLS = 2, 10

# What does not decide the files' content.
_FREE_OUTPUT = ("folder", "num_workers", "overwrite", "shard")
_FREE_SOURCE = ("storage_options",)


def convert_in_shards(config: WriteConfig) -> dict[Split, Path]:
    """Write train.beton and val.beton as `config` says, by shards; returns their paths, of shards where they are not
    to be merged and lie in a folder.

    Raises UserError as `convert` does, for another number of shards or other options than the conversion was begun
    with, and where an attempt at a shard fails again; Interrupted for SIGTERM or SIGUSR1.
    """
    with ended_by_signals():
        return _convert(config)


def _convert(config: WriteConfig) -> dict[Split, Path]:
    output = Path(config.output.folder)
    paths = {split: output / file_name(split, "") for split in SPLITS}
    url = config.run.folder or str(output / "shards")
    storage = _json(config.run.storage_options)
    folder = ShardFolder(url, storage)
    begun = folder.begun()
    if begun is None and all(path.exists() for path in paths.values()):
        # Says whether they are these.
        return convert(replace(config, run=type(config.run)()))
    _check_begun(begun, config, folder.url)
    if begun is None or not (output / MERGING).exists():
        for path in paths.values():
            refuse_existing(path, False)
    make_folder(output)
    if folder.path is not None:
        make_folder(folder.path)
    finished = _Finished(folder, config)
    missing = finished.take(_all_shards(begun), folder.state()["done"]) if begun else []
    if begun is None or missing:
        with open_executor(config) as executor:
            begun = begun or _begin(folder, config, executor.slots)
            missing = missing or _all_shards(begun)
            attempt = Attempt(config=config, begun=begun, folder=str(folder.path or url), storage=storage)
            _Conversion(finished, attempt, executor).run(missing)
    shards = _all_shards(begun)
    if config.run.merge:
        join(folder, shards, config, paths)
        folder.remove()
        return paths
    where = folder.path or folder.url
    print(
        f"all {len(shards):,} shards are complete in {where}; the same command with run.merge=true merges them"
    )
    return {}


def _json(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text or "{}")
    except ValueError as error:
        raise UserError(f"run.storage_options is not JSON: {error}") from None
    if not isinstance(options, dict):
        raise UserError('run.storage_options is not a JSON object: pass one such as {"anon": true}')
    return options


def _options(config: WriteConfig) -> dict[str, Any]:
    """By dotted name, those that decide the files' content."""
    source = {
        f"source.{name}": value for name, value in asdict(config.source).items() if name not in _FREE_SOURCE
    }
    output = {
        f"output.{name}": value for name, value in asdict(config.output).items() if name not in _FREE_OUTPUT
    }
    return source | output


def _check_begun(begun: Begun | None, config: WriteConfig, where: str) -> None:
    """Raise UserError where another conversion was begun."""
    if begun is None:
        return
    if config.run.shards not in (0, begun.shards):
        raise UserError(
            f"run.shards: the conversion in {where} was begun with {begun.shards} shards, which can't become "
            f"{config.run.shards}: pass {begun.shards}, or remove that folder to start anew"
        )
    for kind, wanted, found in (
        ("", _options(config), begun.options),
        ("version of ", versions(), begun.versions),
    ):
        for name, value in wanted.items():
            if found.get(name) != value:
                raise UserError(
                    f"the conversion in {where} was begun with {kind}{name}={found.get(name, '(unknown)')}, not "
                    f"{value}: choose another --output.folder, or remove that folder to start anew"
                )


def _begin(folder: ShardFolder, config: WriteConfig, slots: int) -> Begun:
    """Scan the source, and write the plans of all shards."""
    sources = scanned(config)
    counts = {split: len(choose_order(len(source), config.output)) for split, source in sources.items()}
    fewest = min(counts.values())
    shards = config.run.shards or min(slots * _SHARDS_PER_SLOT, fewest)
    if shards > fewest:
        split = min(counts, key=lambda one: counts[one])
        raise UserError(f"run.shards: {split} has only {fewest:,} images: use at most as many shards")
    plans = [shard_plans(sources[split], split, config.output, shards) for split in SPLITS]
    with Progress("plans", shards, "shards", delay=1.0) as progress:
        for number, of_shard in enumerate(zip(*plans, strict=True), start=1):
            folder.write_plan(f"{number}/{shards}", {plan.split: plan for plan in of_shard})
            progress.update(1)
    begun = Begun(shards=shards, images=sum(counts.values()), options=_options(config), versions=versions())
    folder.begin(begun)
    # As others will read it.
    return folder.begun() or begun


def _all_shards(begun: Begun) -> list[str]:
    return [f"{number}/{begun.shards}" for number in range(1, begun.shards + 1)]


class _Finished:
    """Shards that are finished, and how far the others are."""

    def __init__(self, folder: ShardFolder, config: WriteConfig) -> None:
        self.folder = folder
        self.tallies: dict[str, Tally] = {}
        self._rules = rules_as_text(shard_rules(config.rules))

    def take(self, shards: Sequence[str], done: Collection[str]) -> list[str]:
        """Those of the shards that are not finished; `done` are those with the mark of it, of which one that was
        converted by other rules is forgotten where that matters."""
        return [shard for shard in shards if shard not in done or not self._accept(shard)]

    def _accept(self, shard: str) -> bool:
        tally = self.folder.tally(shard)
        if any(concerns_done(kind, rule, tally.rules, tally.odd) for kind, rule in self._rules.items()):
            self.folder.forget(shard)
            self.tallies.pop(shard, None)
            return False
        self.tallies[shard] = tally
        return True

    def total(self) -> Tally:
        """Of all shards."""
        every = self.tallies.values()
        return Tally(
            images=sum(tally.images for tally in every),
            bytes=sum(tally.bytes for tally in every),
            rejected=sum(tally.rejected for tally in every),
        )


@dataclass
class _Failures:
    """Attempts at a shard that ended in a row without one more image done."""

    kills: int = 0
    errors: int = 0
    images: int = -1
    why: str = ""


class _Conversion:
    """Watches attempts until every shard is finished."""

    def __init__(self, finished: _Finished, attempt: Attempt, executor: Executor) -> None:
        self._finished, self._attempt, self._executor = finished, attempt, executor
        self._folder = finished.folder
        self._failures: dict[str, _Failures] = {}

    def run(self, missing: Sequence[str]) -> None:
        """Until these shards are finished. Raises UserError where an attempt fails again."""
        begun, before = self._attempt.begun, self._finished.total()
        print(
            f"{begun.images:,} images in {begun.shards:,} shards in {self._folder.url}: "
            f"{begun.shards - len(missing):,} shards finished, {self._executor.slots:,} at a time",
            flush=True,
        )
        for shard in sorted(self._folder.state()["error"]):
            # Of an attempt that nobody watched.
            self._folder.error(shard)
        self._start(missing)
        with Progress("shards", begun.images, done=before.images, size=before.bytes) as progress:
            while missing:
                time.sleep(self._executor.pause)
                missing = self._look(missing)
                now = self._finished.total()
                done = max(0, now.images - progress.done)
                progress.update(done, size=now.bytes, rejected=now.rejected)

    def _start(self, shards: Sequence[str]) -> None:
        self._executor.start([replace(self._attempt, shard=shard) for shard in shards])

    def _look(self, missing: Sequence[str]) -> list[str]:
        """Those of the shards that are still missing; attempts that ended too early are made again."""
        # In this order: an attempt that has ended has left its marks.
        ended = dict(self._executor.poll())
        state = self._folder.state()
        left = self._finished.take(missing, state["done"])
        for shard in left:
            if shard in state["progress"]:
                self._finished.tallies[shard] = self._folder.tally(shard)
        again = [shard for shard in left if shard in ended or shard in state["done"]]
        for shard in again:
            why = self._folder.error(shard) if shard in state["error"] else ended.get(shard, "")
            self._fail(shard, why or "killed: it ended without a word")
        if again:
            self._start(again)
        return left

    def _fail(self, shard: str, why: str) -> None:
        """Raise UserError where it is no use to try again."""
        tally = self._finished.tallies.get(shard, Tally())
        failures = self._failures.setdefault(shard, _Failures())
        if tally.images > failures.images:
            failures = self._failures[shard] = _Failures(images=tally.images)
        if is_kill(why):
            failures.kills += 1
        else:
            failures.errors = failures.errors + 1 if why == failures.why else 1
            failures.why = why
        if failures.errors >= _SAME_ERRORS:
            raise UserError(why)
        if failures.kills >= _KILLS:
            raise UserError(
                f"shard {shard} was ended {failures.kills} times in a row without a further image ({why}), perhaps for "
                "lack of memory: use fewer --output.num_workers, then start the same command again"
            )
