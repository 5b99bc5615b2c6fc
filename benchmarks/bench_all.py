"""`python -m benchmarks all`: each stage of throughput in short, against every peer that is installed, and the report.

Each stage is a process of its own (`python -m benchmarks STAGE`), one after the other; one that fails, can't run here
or takes too long is a record that says so, and the next goes on. All records go into one file. Exit code 1: a stage
failed, or some comparison in it did.
"""

import argparse
import importlib
import importlib.util
import json
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from benchmarks import options as opt
from benchmarks.method import failed
from benchmarks.recording import context, save
from benchmarks.short import SHORT, Short
from benchmarks.table import Record

_REPORT = "benchmarks.report.page"


def main(argv: Sequence[str]) -> int:
    """Run the stages that were asked for, print how each ended, and write all records and the report."""
    options = _parse(argv)
    shared = context()
    records: list[Record] = []
    endings: list[str] = []
    good = True
    begin = time.monotonic()
    for stage in options.stages:
        for short in SHORT[stage]:
            print(f"\n== {stage}: {short.what}", flush=True)
            started = time.monotonic()
            found, reason, code = _run(stage, short, options)
            records += found
            if reason:
                records.append(_without(stage, reason, shared, not_run=code == 0 or code == 2))
            good &= code == 0 or bool(short.needs_gpu)
            ending = f"not run: {reason}" if reason else f"{len(found)} comparisons"
            endings.append(f"{stage}: {short.what}: {ending}, {time.monotonic() - started:.0f} s")
            if options.json and records:
                save(options.json, records)
    print("\n" + "\n".join(endings))
    print(f"{len(records)} records in {time.monotonic() - begin:.0f} s")
    if options.json:
        _write_report(records, options.json)
    return 0 if good else 1


def _run(stage: str, short: Short, options: argparse.Namespace) -> tuple[list[Record], str, int]:
    """What the stage recorded, why there is nothing (or not all) of it, and its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "records.json")
        command = [sys.executable, "-m", "benchmarks", stage, *shlex.split(short.options), f"--json={path}"]
        if short.takes_images and options.data:
            command.append(f"--data={options.data}")
        code, last, in_time = _watch(command, options.longest)
        found = _read(path)
    if not in_time:
        return found, f"it took longer than {options.longest:g} s", 1
    if code in (0, 1) and found:
        return found, "", code
    return found, last.removeprefix("error: ") or f"it ended with code {code} and no record", code


def _watch(command: Sequence[str], longest: float) -> tuple[int, str, bool]:
    """Run it and pass its output on: exit code, the last line, and whether it ended in time."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(longest, stop)
        timer.start()
        try:
            assert process.stdout is not None
            last = _pass_on(process.stdout)
            code = process.wait()
        finally:
            timer.cancel()
    return code, last, not late.is_set()


def _pass_on(output: IO[str]) -> str:
    last = ""
    for line in output:
        print(line, end="", flush=True)
        last = line.strip() or last
    return last


def _read(path: Path) -> list[Record]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


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
    add("--longest", type=float, default=240, help="seconds that a stage may take (default: 240)")
    add(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the records there, beside it their tables as .md, and the report",
    )
    options = parser.parse_args(argv)
    opt.check_files(options.data, options.json)
    opt.check_seconds(options.longest)
    return options
