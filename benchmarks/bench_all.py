"""`python -m benchmarks all`: each stage of throughput in short, against every peer that is installed, and the report.

Each stage is a process of its own (`python -m benchmarks STAGE`), one after the other; one that fails, can't run here
or takes too long is a record that says so, and the next goes on. All records go into one file, also those of a stage
that is interrupted. Exit code 1: a stage failed, or some comparison in it did.
"""

import argparse
import importlib
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from benchmarks import options as opt
from benchmarks.method import failed
from benchmarks.recording import context, read, save
from benchmarks.short import SHORT, Short
from benchmarks.table import Record

_REPORT = "benchmarks.report.page"
# For a stage that is to end: to end its processes and remove its temporary files.
_GRACE = 10.0


def main(argv: Sequence[str]) -> int:
    """Run the stages that were asked for, print how each ended, and write all records and the report."""
    options = _parse(argv)
    shared = context()
    # How long a round was decides what some figures mean: only short ones are comparable (bench_gate.py).
    shared["short_run"] = shared["started"]
    records: list[Record] = []
    endings: list[str] = []
    good = True
    begin = time.monotonic()
    for stage in options.stages:
        for short in SHORT[stage]:
            print(f"\n== {stage}: {short.what}", flush=True)
            ending, code = _take(stage, short, options, shared, records)
            endings.append(ending)
            good &= code == 0 or (short.needs_gpu and not shared["machine"]["gpus"])
    print("\n" + "\n".join(endings))
    print(f"{len(records)} records in {time.monotonic() - begin:.0f} s")
    if options.json:
        _write_report(records, options.json)
    return 0 if good else 1


def _take(
    stage: str, short: Short, options: argparse.Namespace, shared: Record, records: list[Record]
) -> tuple[str, int]:
    """Run it, add what it recorded to `records` and save them; how it ended in a line, and its exit code."""
    started, before = time.monotonic(), len(records)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "records.json")
        try:
            reason, code = _run(stage, short, options, path)
        finally:
            # Also what a stage that is interrupted has recorded until then.
            if path.exists():
                records += [{**record, "short_run": shared["short_run"]} for record in read(path)]
            save(options.json, records)
    told = [f"{len(records) - before} comparisons"] if len(records) > before else []
    if reason:
        not_run = code in (0, 2)
        told.append(f"{'not run' if not_run else 'failed'}: {reason}")
        records.append(_without(stage, reason, shared, not_run=not_run))
        save(options.json, records)
    return f"{stage}: {short.what}: {'; '.join(told)}, {time.monotonic() - started:.0f} s", code


def _run(stage: str, short: Short, options: argparse.Namespace, records: Path) -> tuple[str, int]:
    """Why the stage recorded nothing (or not all), empty where it did, and its exit code."""
    command = [sys.executable, "-m", "benchmarks", stage, *shlex.split(short.options), f"--json={records}"]
    if short.takes_images and options.data:
        command.append(f"--data={options.data}")
    code, last, in_time = _watch(command, options.longest)
    if not in_time:
        return f"it took longer than {options.longest:g} s", 1
    if code in (0, 1) and records.exists():
        return "", code
    return last.removeprefix("error: ") or f"it ended with code {code} and no record", code


def _watch(command: Sequence[str], longest: float) -> tuple[int, str, bool]:
    """Run it and pass its output on: exit code, the last line, and whether it ended in time.

    It is a session of its own, so that whatever it has started ends with it, also in an interruption of this process.
    """
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        late = threading.Event()

        def stop() -> None:
            late.set()
            _end(process)

        timer = threading.Timer(longest, stop)
        timer.start()
        try:
            assert process.stdout is not None
            last = _pass_on(process.stdout)
            code = process.wait()
        finally:
            timer.cancel()
            _end(process)
    return code, last, not late.is_set()


def _end(process: "subprocess.Popen[str]") -> None:
    """As Ctrl-C would, so that it tidies up; by force what is still there after a while."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _pass_on(output: IO[str]) -> str:
    last = ""
    for line in output:
        print(line, end="", flush=True)
        last = line.strip() or last
    return last


def _without(stage: str, reason: str, shared: Record, *, not_run: bool) -> Record:
    """The record of a stage that gave none of its own."""
    facts = {
        "stage": stage,
        "ours": "",
        "peer": "",
        "resolution": 0,
        "scale": [1.0, 1.0],
        "cores": 0,
        "cache": "",
        "metric": "",
        "data": "",
        "device": "cpu",
    }
    return {**facts, **failed(reason), "not_run": not_run, "whole_stage": True, **shared}


def _write_report(records: Sequence[Record], path: Path) -> None:
    """The report beside the records and their tables, where that part of the project is there."""
    if importlib.util.find_spec("benchmarks.report") is None:
        return
    page = importlib.import_module(_REPORT)
    page.write(list(records), path.with_suffix(".html"), path.with_name(f"{path.stem}_report.md"))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser(prog="python -m benchmarks all", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    names = list(SHORT)
    add("--stages", type=opt.list_of(opt.one_of(*names)), default=names, help=f"of: {', '.join(names)} (all)")
    add("--data", type=Path, help="folder or tar of images (default: made-up photos)")
    add("--longest", type=opt.seconds, default=240, help="seconds that a stage may take (default: 240)")
    add(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the records there, beside it their tables as .md, and the report",
    )
    options = parser.parse_args(argv)
    opt.check_files(options.data, options.json)
    return options
