"""`python -m engine.data.cluster.shard_process`: converts the shard that comes on stdin (attempt.py)."""

import hashlib
import os
import pickle
import platform
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from engine.config.executor import RunConfig
from engine.config.write import RulesConfig, WriteConfig
from engine.data.beton.reader import open_beton
from engine.data.cluster.attempt import GRACE_SECONDS, Attempt
from engine.data.cluster.shard_folder import ShardFolder, Tally
from engine.data.convert.conversion import convert
from engine.data.convert.journal import UnderWayError, rules_as_text, versions
from engine.data.convert.split_writer import SplitWriter
from engine.data.sources import Split
from engine.errors import EXIT_AGAIN, EXIT_DONE, UserError, run_cli

# Between two notes of how far a shard is: in a folder, and at a URL.
_REPORT_SECONDS, _REPORT_SECONDS_URL = 1.0, 10.0


def main() -> int:
    """Convert the shard that comes on stdin; returns 0. Raises UserError as `convert_shard` does."""
    attempt: Attempt = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    convert_shard(attempt)
    return EXIT_DONE


def convert_shard(attempt: Attempt) -> None:
    """Convert a shard here, and mark it as finished.

    Raises UserError as `convert` does, for another conversion in the folder, and for libraries of other versions.
    """
    folder = attempt.open()
    if folder.begun() != attempt.begun:
        raise UserError(
            f"{folder.url}: another conversion was begun there meanwhile: start the command again"
        )
    _check_versions(attempt.begun.versions)
    files = _convert(attempt, folder)
    if files:
        folder.report(attempt.shard, _final(files))
        folder.finish(attempt.shard, files.values())
        if folder.path is None:
            _remove(files)


def _convert(attempt: Attempt, folder: ShardFolder) -> dict[Split, Path]:
    """The shard's files; none where another attempt has finished it meanwhile."""
    work = folder.path or _scratch(folder.url)
    config, plans = shard_config(attempt, work), folder.read_plan(attempt.shard)
    while True:
        try:
            return convert(config, plans, _Reports(folder, attempt.shard, rules_as_text(config.rules)))
        except UnderWayError:
            # Of a process that its cluster takes for lost, or that is still ending.
            if folder.is_done(attempt.shard):
                return {}
            time.sleep(1)


def shard_config(attempt: Attempt, work: Path) -> WriteConfig:
    """Of the shard alone, in the folder `work`; what needs all images is left to the merge."""
    config = attempt.config
    workers = attempt.workers or config.output.num_workers
    output = replace(config.output, folder=str(work), shard=attempt.shard, num_workers=workers)
    return replace(config, output=output, rules=shard_rules(config.rules), run=RunConfig())


def shard_rules(rules: RulesConfig) -> RulesConfig:
    """The rules by which a shard is converted."""
    return replace(rules, duplicate="keep", leak="keep", conflict="keep")


def _scratch(url: str) -> Path:
    """Where shards for a URL are written first: the same folder for another attempt on this machine."""
    name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"imagenet-engine-{os.getuid()}-{name}"


def _remove(files: Mapping[Split, Path]) -> None:
    for file in files.values():
        file.unlink(missing_ok=True)
    # Other shards of this machine may still be there.
    with suppress(OSError):
        files["train"].parent.rmdir()


def _check_versions(begun: Mapping[str, str]) -> None:
    for name, version in versions().items():
        if begun.get(name) != version:
            raise UserError(
                f"machine {platform.node()} has {name} {version}, and the conversion was begun with "
                f"{begun.get(name, 'none')}: its files would differ; use one environment on all machines"
            )


class _Reports:
    """Notes now and then how far the shard is."""

    def __init__(self, folder: ShardFolder, shard: str, rules: dict[str, str]) -> None:
        self._folder, self._shard, self._rules = folder, shard, rules
        self._every = _REPORT_SECONDS if folder.path is not None else _REPORT_SECONDS_URL
        self._writers: dict[str, SplitWriter] = {}
        self._said = 0.0

    def __call__(self, writer: SplitWriter) -> None:
        self._writers[writer.plan.split] = writer
        if time.monotonic() - self._said < self._every:
            return
        self._said = time.monotonic()
        every = self._writers.values()
        tally = Tally(
            images=sum(one.done for one in every),
            bytes=sum(one.bytes for one in every),
            rejected=sum(len(one.rejects) for one in every),
            odd=dict(sum((one.odd for one in every), Counter())),
            rules=self._rules,
        )
        self._folder.report(self._shard, tally)


def _final(files: Mapping[Split, Path]) -> Tally:
    """Of finished files: what they say themselves."""
    betons = [open_beton(path) for path in files.values()]
    manifests = [beton.manifest for beton in betons if beton.manifest]
    rejected = sum(len(one.rejects) for one in manifests)
    return Tally(
        images=sum(beton.num_samples for beton in betons) + rejected,
        bytes=sum(int(beton.sizes.sum()) for beton in betons),
        rejected=rejected,
        odd=dict(sum((Counter(one.odd) for one in manifests), Counter())),
        rules=manifests[0].rules,
    )


def _end_with_parent() -> None:
    """End this process when the one that asked is gone: its end of stdin is closed then."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(EXIT_AGAIN)


if __name__ == "__main__":
    run_cli(main, prints=False)
