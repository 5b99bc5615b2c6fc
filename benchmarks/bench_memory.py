"""`python -m benchmarks memory`: how much memory a loader takes for itself, ours against others'.

What counts is RssAnon + RssShmem of the loader's process (/proc/PID/status): memory that it allocated, alone or
shared with others. Pages of the mapped .beton are the system's cache, shared by all processes, and don't
count. Taken is the most during an epoch's first batches, enough for every buffer to be in use, less what the
same process had after its imports and before it opened the file. Each turn is a process of its own, two at a time.
"""

import argparse
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from benchmarks import options as opt
from benchmarks.case import Case, loader_case
from benchmarks.images import prepare
from benchmarks.load import MachineLoad
from benchmarks.method import LEAST_BATCHES, failed, paired
from benchmarks.recording import context, save
from benchmarks.table import Record, table
from benchmarks.worker import ContenderError, Worker, descendants
from engine.report.machine import machine

_COUNTED = ("RssAnon:", "RssShmem:")
_EVERY_SECONDS = 0.01


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and write the records as asked for."""
    options = _parse(argv)
    shared = context()
    records: list[Record] = []
    for ours, peer in options.pairs:
        case = _case(ours, peer, options)
        images = {storage: prepare(options.data, storage, options.images) for storage in set(case.storages)}
        print(f"{case}, batch {case.batch}:", end="", flush=True)
        openers = partial(case.open_ours, images), partial(case.open_peer, images)
        with MachineLoad(case.cores) as load:
            measured = _measure(openers, options.rounds)
        record = case.record("memory", "peak_megabytes", images, measured)
        records.append({**record, **load.facts, **shared})
        save(options.json, records)
    print(f"\n{table(records)}")
    return 1 if any(record.get("error") for record in records) else 0


def own_bytes(pid: int) -> int:
    """RssAnon + RssShmem of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_COUNTED))


class Peak:
    """Watches a process's own memory from outside while the block runs; `bytes` is the most that was seen."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.bytes = own_bytes(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak", daemon=True)

    def _watch(self) -> None:
        # A process that is gone: whoever asked it for work hears of that by its pipe.
        with suppress(FileNotFoundError, ProcessLookupError):
            while not self._done.wait(_EVERY_SECONDS):
                self._look()

    def _look(self) -> None:
        self.bytes = max(self.bytes, own_bytes(self._pid))

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if error is None:
            self._look()


def _measure(openers: Sequence[Callable[[], Worker]], rounds: int) -> Record:
    taken: tuple[list[float], list[float]] = ([], [])
    settings = ["", ""]
    try:
        # Two at once: it is not their time that is measured.
        with ThreadPoolExecutor(2) as threads:
            for turn, (megabytes, how) in enumerate(threads.map(take_turn, [*openers] * rounds)):
                side = turn % len(openers)
                taken[side].append(megabytes)
                settings[side] = how
                if side:
                    print(f" {taken[0][-1]:.0f}/{taken[1][-1]:.0f}", end="", flush=True)
    except ContenderError as error:
        print(f" failed: {error}", flush=True)
        return failed(str(error))
    print(" MB", flush=True)
    return {**paired(*taken), "ours_settings": settings[0], "peer_settings": settings[1]}


def take_turn(open_worker: Callable[[], Worker]) -> tuple[float, str]:
    """MB that a side took in a process of its own, and how it is set up. Raises ContenderError."""
    with open_worker() as worker:
        worker.load()
        before = own_bytes(worker.pid)
        with Peak(worker.pid) as peak:
            worker.round(0, LEAST_BATCHES)
        if helpers := descendants(worker.pid):
            raise ContenderError(
                f"it works in {len(helpers)} more processes, whose memory is not counted here"
            )
        return (peak.bytes - before) / 1e6, worker.settings()


def _case(ours: str, peer: str, options: argparse.Namespace) -> Case:
    return loader_case(
        ours=ours,
        peer=peer,
        cores=machine()["cores"],
        resolution=options.resolution,
        min_scale=0.08,
        cache="warm",
        batch=options.batch,
        form="host",
    )


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.stage_parser("memory", __doc__, batch=1024)
    opt.add_images(parser, "a few hundred")
    parser.add_argument("--resolution", type=opt.whole(8, 4096), default=224, help="pixels (default: 224)")
    return opt.parse(parser, argv)
