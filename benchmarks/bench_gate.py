"""`python -m benchmarks gate`: short versions of stages, held against the last committed records of this machine class.

Ratios are compared, not times: both sides of a ratio were measured in turns, so that a slow day hits both. A comparison
fails when its ratio is worse than the worse end of the committed interval by more than 10%, or when it failed and had
not before. Exit code 1: one did.
"""

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import bench_all
from benchmarks import options as opt
from benchmarks.layouts import LAYOUTS, Record
from benchmarks.report.command import read
from benchmarks.report.outcomes import Outcome, outcome
from benchmarks.short import SHORT
from engine.errors import UserError

RESULTS = Path(__file__).with_name("results")
_SLACK = 0.1
# Where one stage's records of a comparison may differ without another comparison being meant.
_SIDES = ("ours", "peer", "scale", "cores", "batch", "form", "device", "start", "since", "crop", "how")

Key = tuple[str, ...]


def main(argv: Sequence[str]) -> int:
    """Measure, print a line for each comparison, and judge."""
    options = _parse(argv)
    now = read(options.measured) if options.measured else _measure(options)
    rows = judge(now, committed(options.results))
    compared = [row for row in rows if row[1] != "new"]
    for line, verdict in rows:
        print(f"{verdict:<8} {line}")
    if not compared:
        raise UserError(
            f"{options.results} holds no record of these comparisons on a machine of this class: commit one, made by "
            "`python -m benchmarks all --json FILE`"
        )
    worse = sum(verdict == "WORSE" for _, verdict in compared)
    print(f"{len(compared)} compared, {worse} worse, {len(rows) - len(compared)} new")
    return 1 if worse else 0


def judge(now: Iterable[Record], before: Iterable[Record]) -> list[tuple[str, str]]:
    """For each record of `now` a line, and a verdict: ok, WORSE, or new where `before` holds nothing like it."""
    last: dict[Key, Record] = {}
    for record in sorted(before, key=lambda record: str(record["started"])):
        if not record.get("error"):
            last[_key(record)] = record
    rows = []
    for record in now:
        found, known = outcome(record), last.get(_key(record))
        label = f"{record['stage']}: {found.label()}: {found.figures}"
        if known is None:
            rows.append((label, "new"))
            continue
        then = outcome(known)
        rows.append((f"{label}, was {then.figures}", "ok" if _holds(found, then) else "WORSE"))
    return rows


def committed(folder: Path) -> list[Record]:
    """All records there that compare something."""
    found = [record for path in sorted(folder.glob("*.json")) for record in read(path)]
    return [record for record in found if record["stage"] in LAYOUTS and record["ours"]]


def _holds(now: Outcome, then: Outcome) -> bool:
    return now.kind != "failed" and now.median >= (1 - _SLACK) * then.low


def _key(record: Record) -> Key:
    """What was compared, and on which class of machine: equal keys have comparable ratios."""
    machine = record["machine"]
    kind = (str(machine.get("cores")), *map(str, machine.get("gpus") or []))
    if record.get("not_run"):
        return (*kind, str(record["stage"]), str(record["ours"]), str(record["peer"]))
    cells = (cell(record) for cell in LAYOUTS[record["stage"]].what.values())
    sides = (f"{name}={record.get(name)}" for name in _SIDES)
    return (*kind, str(record["stage"]), *cells, *sides)


def _measure(options: argparse.Namespace) -> list[Record]:
    with tempfile.TemporaryDirectory() as folder:
        path = options.json or Path(folder, "now.json")
        argv = [f"--stages={','.join(options.stages)}", f"--json={path}"]
        bench_all.main([*argv, *([f"--data={options.data}"] if options.data else [])])
        return read(path) if path.exists() else []


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser(prog="python -m benchmarks gate", description=__doc__, allow_abbrev=False)
    add, names = parser.add_argument, list(SHORT)
    add(
        "--stages",
        type=opt.list_of(opt.one_of(*names)),
        default=["loader"],
        help=f"of: {', '.join(names)} (default: loader)",
    )
    add("--data", type=Path, help="folder or tar of images (default: made-up photos)")
    add(
        "--results",
        type=Path,
        default=RESULTS,
        help="folder of committed records (default: benchmarks/results)",
    )
    add("--measured", type=Path, metavar="FILE", help="judge these records rather than measure")
    add("--json", type=Path, metavar="FILE", help="write what was measured there")
    options = parser.parse_args(argv)
    opt.check_files(options.data, options.json)
    if not options.results.is_dir():
        raise UserError(f"--results {options.results} is no folder")
    return options
