"""`python -m benchmarks startup`: seconds until a loader's first batch, ours against others.

Three waits: a cold start with empty folders for compiled code (numba's and Triton's), as on a new machine; a second
start that finds the code of an earlier one; and another resolution in a running process. The first two count from the
process's start and from the end of its imports. Each turn is a new process.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.harness import arguments as opt
from benchmarks.harness.case import Case, loader_case
from benchmarks.harness.images.prepared import prepare
from benchmarks.harness.method import failed, paired
from benchmarks.harness.processes.usage import MachineLoad
from benchmarks.harness.processes.worker import SideError, Worker
from benchmarks.harness.run_records import RunRecords
from benchmarks.records.layouts import Record
from engine.runs.machine import machine

# (start, since), in the order of a turn.
_COLD = (("cold", "process"), ("cold", "imports"))
_SECOND = (("second", "process"), ("second", "imports"), ("new resolution", "asking"))

_CODE_FOLDERS = ("NUMBA_CACHE_DIR", "TRITON_CACHE_DIR")

# Opens a side with environment variables.
_Opener = Callable[[Mapping[str, str]], Worker]


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    if opt.gpu_is_missing(options.form):
        return 0
    records = RunRecords(options.json)
    for ours, peer in options.pairs:
        case = _case(ours, peer, options)
        images = {storage: prepare(options.data, storage, options.images) for storage in set(case.storages)}
        print(f"{case}:", end="", flush=True)
        openers = partial(case.open_ours, images), partial(case.open_peer, images)
        with MachineLoad(case.cores) as load:
            waits = _measure(openers, options)
        for (start, since), measured in waits.items():
            record = case.record("startup", "seconds_to_first_batch", images, measured)
            records.add(record, {"start": start, "since": since}, load.facts)
    return records.end()


def _measure(openers: Sequence[_Opener], options: argparse.Namespace) -> dict[tuple[str, str], Record]:
    """A record's measured part for each wait."""
    waits = [*(_COLD if "cold" in options.start else ()), *_SECOND]
    seconds: list[dict[tuple[str, str], list[float]]] = [{wait: [] for wait in waits} for _ in openers]
    with tempfile.TemporaryDirectory() as folder:
        kept = [Path(folder, side) for side in ("ours", "peer")]
        try:
            for side, open_worker in enumerate(openers):
                # Fills the folder for the second starts.
                _start(open_worker, kept[side], options)
            for turn in range(options.rounds):
                for side, open_worker in enumerate(openers):
                    fresh = Path(folder, f"{turn}-{side}")
                    cold = _start(open_worker, fresh, options) if "cold" in options.start else ()
                    second = _start(open_worker, kept[side], options)
                    # The new resolution is timed after the second start: a cold one compiles for all.
                    for wait, took in (*zip(_COLD, cold, strict=False), *zip(_SECOND, second, strict=True)):
                        seconds[side][wait].append(took)
                print(f" {turn + 1}", end="", flush=True)
        except SideError as error:
            print(f" failed: {error}", flush=True)
            return {wait: failed(str(error)) for wait in waits}
    print(flush=True)
    return {wait: paired(seconds[0][wait], seconds[1][wait]) for wait in waits}


def _start(open_worker: _Opener, code: Path, options: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds to the first batch: since the process began, since its imports, and of a new resolution."""
    code.mkdir(exist_ok=True)
    with open_worker(dict.fromkeys(_CODE_FOLDERS, str(code))) as worker:
        imported = worker.load()
        _, first = worker.first_batch(0, options.resolution)
        asked, changed = worker.first_batch(1, options.new_resolution)
    return first - worker.started, first - imported, changed - asked


def _case(ours: str, peer: str, options: argparse.Namespace) -> Case:
    return loader_case(
        ours=ours,
        peer=peer,
        cores=machine()["cores"],
        resolution=options.resolution,
        min_scale=0.08,
        cache="warm",
        batch=options.batch,
        form=options.form,
    )


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.loader_parser("startup", __doc__, batch=128)
    parser.add_images("a few hundred")
    parser.add_form()
    add = parser.add_argument
    add("--resolution", type=opt.whole(8, 4096), default=128, help="pixels (default: 128)")
    starts = opt.list_of(opt.one_of("cold", "second"))
    add(
        "--start",
        type=starts,
        default=["cold", "second"],
        help="cold,second, or second alone (default: both)",
    )
    add("--new-resolution", type=opt.whole(8, 4096), default=224, help="pixels then (default: 224)")
    return opt.parse_loaders(parser, argv)
