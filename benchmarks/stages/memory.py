"""`python -m benchmarks memory`: memory that a loader allocates, ours against others.

Counted is RssAnon + RssShmem of the loader's process (/proc/PID/status): memory that it allocated, private or shared.
Pages of the mapped .beton are the system's cache, shared by all processes, and don't count. The figure is the peak
during an epoch's first batches, when every buffer is in use, minus the value after the imports and before the file is
opened. Each turn is a new process; two run at a time.
"""

import argparse
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from benchmarks.harness import arguments as opt
from benchmarks.harness.case import Case, loader_case
from benchmarks.harness.images.prepared import prepare
from benchmarks.harness.method import LEAST_BATCHES, failed, paired
from benchmarks.harness.processes.usage import MachineLoad, descendants
from benchmarks.harness.processes.worker import SideError, Worker
from benchmarks.harness.run_records import RunRecords
from benchmarks.records.layouts import Record
from engine.runs.machine import machine

_COUNTED = ("RssAnon:", "RssShmem:")
_EVERY_SECONDS = 0.01


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    records = RunRecords(options.json)
    for ours, peer in options.pairs:
        case = _case(ours, peer, options)
        images = {storage: prepare(options.data, storage, options.images) for storage in set(case.storages)}
        print(f"{case}, batch {case.batch}:", end="", flush=True)
        openers = partial(case.open_ours, images), partial(case.open_peer, images)
        with MachineLoad(case.cores) as load:
            measured = _measure(openers, options.rounds)
        records.add(case.record("memory", "peak_megabytes", images, measured), load.facts)
    return records.end()


def own_bytes(pid: int) -> int:
    """RssAnon + RssShmem of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_COUNTED))


class Peak:
    """Watches a process's memory from outside while the block runs; `bytes` is the highest value seen."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.bytes = own_bytes(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak", daemon=True)

    def _watch(self) -> None:
        # The process may have died; its pipe reports that.
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
        # Two at once: their time is not measured.
        with ThreadPoolExecutor(2) as threads:
            for turn, (megabytes, how) in enumerate(threads.map(take_turn, [*openers] * rounds)):
                side = turn % len(openers)
                taken[side].append(megabytes)
                settings[side] = how
                if side:
                    print(f" {taken[0][-1]:.0f}/{taken[1][-1]:.0f}", end="", flush=True)
    except SideError as error:
        print(f" failed: {error}", flush=True)
        return failed(str(error))
    print(" MB", flush=True)
    return {**paired(*taken), "ours_settings": settings[0], "peer_settings": settings[1]}


def take_turn(open_worker: Callable[[], Worker]) -> tuple[float, str]:
    """MB that a side took in a new process, and its settings. Raises SideError."""
    with open_worker() as worker:
        worker.load()
        before = own_bytes(worker.pid)
        with Peak(worker.pid) as peak:
            worker.round(0, LEAST_BATCHES)
        if helpers := descendants(worker.pid):
            raise SideError(f"it works in {len(helpers)} more processes, whose memory is not counted here")
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
    parser = opt.loader_parser("memory", __doc__, batch=1024)
    parser.add_images("a few hundred")
    parser.add_argument("--resolution", type=opt.whole(8, 4096), default=224, help="pixels (default: 224)")
    return opt.parse_loaders(parser, argv)
