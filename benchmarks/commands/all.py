"""`python -m benchmarks all`: run each stage in short, against every installed peer, and write a report.

The stages run one after the other, each as `python -m benchmarks STAGE` in a new process. A stage that fails, can't run
here or takes too long gives a record that says so, and the next one starts. All records go into one file, those of an
interrupted stage included. Exit code 1: a stage or a comparison failed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import arguments as opt
from benchmarks.harness.method import failed
from benchmarks.harness.processes.watched import watch
from benchmarks.harness.run_records import context
from benchmarks.records.layouts import Record
from benchmarks.records.record_files import read, save
from benchmarks.records.record_page import write
from benchmarks.stages import STAGES, Short


def names() -> list[str]:
    """The stages that have a short version."""
    return [name for name, stage in STAGES.items() if stage.short]


def main(argv: Sequence[str]) -> int:
    """Run the stages, print how each ended, and write all records and the report."""
    options = _parse(argv)
    shared = context()
    # Some figures depend on a round's length: short runs are compared only with short ones (gate.py).
    shared["short_run"] = shared["started"]
    records: list[Record] = []
    endings: list[str] = []
    good = True
    begin = time.monotonic()
    for stage in options.stages:
        for short in STAGES[stage].short:
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
    """Run it, add its records to `records` and save them; returns a line on how it ended, and its exit code."""
    started, before = time.monotonic(), len(records)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "records.json")
        try:
            reason, code = _run(stage, short, options, path)
        finally:
            # Those of an interrupted stage too.
            if path.exists():
                records += [{**record, "short_run": shared["short_run"]} for record in read(path)]
            save(options.json, records)
    words = [f"{len(records) - before} comparisons"] if len(records) > before else []
    if reason:
        not_run = code in (0, 2)
        words.append(f"{'not run' if not_run else 'failed'}: {reason}")
        records.append(_without(stage, reason, shared, not_run=not_run))
        save(options.json, records)
    return f"{stage}: {short.what}: {'; '.join(words)}, {time.monotonic() - started:.0f} s", code


def _run(stage: str, short: Short, options: argparse.Namespace, records: Path) -> tuple[str, int]:
    """Why the stage has no records, or not all (empty where it has), and its exit code."""
    command = [sys.executable, "-m", "benchmarks", stage, *short.argv(), f"--json={records}"]
    if short.takes_images and options.data:
        command.append(f"--data={options.data}")
    run = watch(command, options.longest)
    if not run.in_time:
        return f"it took longer than {options.longest:g} s", 1
    if run.code in (0, 1) and records.exists():
        return "", run.code
    return run.last.removeprefix("error: ") or f"it ended with code {run.code} and no record", run.code


def _without(stage: str, reason: str, shared: Record, *, not_run: bool) -> Record:
    """The record of a stage without records."""
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
    """The report beside the records and their tables."""
    write(list(records), path.with_suffix(".html"), path.with_name(f"{path.stem}_report.md"))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("all", __doc__)
    add = parser.add_argument
    stages = names()
    add(
        "--stages",
        type=opt.list_of(opt.one_of(*stages)),
        default=stages,
        help=f"choices: {', '.join(stages)} (default: all)",
    )
    parser.add_data()
    add("--longest", type=opt.seconds, default=240, help="time limit of a stage in seconds (default: 240)")
    add(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the records, their tables as .md, and the report",
    )
    options = parser.parse_args(argv)
    opt.check_files(options.data, options.json)
    return options
