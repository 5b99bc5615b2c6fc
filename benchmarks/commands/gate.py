"""`python -m benchmarks gate`: run stages in short and judge them by the last committed records of this machine class.

Ratios are compared, not times: both sides of a ratio take turns, so that a slow day affects both. A comparison is
WORSE when its gain is more than 10% below the low end of the committed interval, when it newly failed, or when its
sides no longer did the same work. It is GONE when the stage's last committed run made it and this one did not. Exit
code 1: one is WORSE or GONE.
"""

import argparse
import math
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.commands import all as all_stages
from benchmarks.harness import arguments as opt
from benchmarks.records.layouts import LAYOUTS, Record
from benchmarks.records.outcomes import Outcome, outcome
from benchmarks.records.record_files import read
from engine.errors import UserError

RESULTS = Path(__file__).parents[1] / "results"
_SLACK = 0.1
# Keys of a record in which comparisons differ, beside the columns of its table.
_SIDES = ("ours", "peer", "scale", "cores", "batch", "form", "device", "start", "since", "crop", "how")

Key = tuple[str, ...]


def main(argv: Sequence[str]) -> int:
    """Measure, print a line for each comparison, and judge it."""
    options = _parse(argv)
    # Before the measurement, whose --json may be one of them.
    before = committed(options.results)
    now = comparisons(read(options.measured) if options.measured else _measure(options))
    rows = [*judge(now, before), *gone(now, before)]
    compared = [row for row in rows if row[1] != "new"]
    for line, verdict in rows:
        print(f"{verdict:<8} {line}")
    if not compared:
        raise UserError(
            f"{options.results} holds no record of these comparisons on a machine of this class: commit one, made by "
            "`python -m benchmarks all --json FILE`"
        )
    verdicts = [verdict for _, verdict in rows]
    worse, missing = verdicts.count("WORSE"), verdicts.count("GONE")
    print(f"{len(compared)} compared, {worse} worse, {missing} gone, {len(rows) - len(compared)} new")
    return 1 if worse or missing else 0


def judge(now: Iterable[Record], before: Iterable[Record]) -> list[tuple[str, str]]:
    """For each record of `now` a line, and a verdict: ok, WORSE, or new where `before` holds nothing like it.

    A stage without results is judged by any record of it.
    """
    last: dict[Key, Record] = {}
    for record in _made(before):
        last[_key(record)] = record
    stages = {_stage(record) for record in last.values()}
    rows = []
    for record in now:
        found, known = outcome(record), last.get(_key(record))
        label = f"{record['stage']}: {found.label()}: {found.figures}"
        if record.get("whole_stage"):
            rows.append((label, "WORSE" if _stage(record) in stages else "new"))
        elif known is None:
            rows.append((label, "new"))
        else:
            then = outcome(known)
            good = _same_work(record) and _holds(found, then)
            rows.append((f"{label}, was {then.figures}", "ok" if good else "WORSE"))
    return rows


def gone(now: Sequence[Record], before: Iterable[Record]) -> list[tuple[str, str]]:
    """A line and GONE for each comparison that the last short run in `before` made of a stage, and `now` did not.

    Only for stages of which `now` has results of a short run.
    """
    here = {_key(record) for record in now}
    stages = {_stage(record) for record in now if record.get("short_run") and not record.get("whole_stage")}
    short = [record for record in _made(before) if record.get("short_run") and _stage(record) in stages]
    # The newest run counts.
    last = {_stage(record): record["short_run"] for record in short}
    missing = [
        record for record in short if record["short_run"] == last[_stage(record)] and _key(record) not in here
    ]
    return [(f"{record['stage']}: {outcome(record).label()}", "GONE") for record in missing]


def committed(folder: Path) -> list[Record]:
    """All records there that compare something."""
    return comparisons(record for path in sorted(folder.glob("*.json")) for record in read(path))


def comparisons(records: Iterable[Record]) -> list[Record]:
    """Those of stages that compare something."""
    return [record for record in records if record["stage"] in LAYOUTS]


def _made(records: Iterable[Record]) -> list[Record]:
    """The oldest first, without what failed."""
    return sorted(
        (record for record in records if not record.get("error")), key=lambda record: str(record["started"])
    )


def _holds(now: Outcome, then: Outcome) -> bool:
    return now.kind != "failed" and (1 - _SLACK) * then.low <= now.median < math.inf


def _same_work(record: Record) -> bool:
    # Not every stage records them.
    return bool(record.get("labels_equal", True) and record.get("each_image_once", True))


def _stage(record: Record) -> Key:
    """Its stage, and the class of its machine."""
    machine = record["machine"]
    kind = (str(machine.get("cpu")), str(machine.get("cores")), *map(str, machine.get("gpus") or []))
    return (*kind, str(record["stage"]))


def _key(record: Record) -> Key:
    """What was compared, and on which class of machine: equal keys have comparable ratios."""
    if record.get("whole_stage"):
        return _stage(record)
    cells = (cell(record) for cell in LAYOUTS[record["stage"]].what.values())
    sides = (f"{name}={record.get(name)}" for name in _SIDES)
    # Rounds of a fraction of a second have other ratios where a start or an end is a part of them.
    length = "short" if record.get("short_run") else "full"
    return (*_stage(record), length, *cells, *sides)


def _measure(options: argparse.Namespace) -> list[Record]:
    with tempfile.TemporaryDirectory() as folder:
        path = options.json or Path(folder, "now.json")
        argv = [f"--stages={','.join(options.stages)}", f"--json={path}"]
        all_stages.main([*argv, *([f"--data={options.data}"] if options.data else [])])
        return read(path) if path.exists() else []


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("gate", __doc__)
    add, names = parser.add_argument, all_stages.names()
    add(
        "--stages",
        type=opt.list_of(opt.one_of(*names)),
        default=["loader"],
        help=f"choices: {', '.join(names)} (default: loader)",
    )
    parser.add_data()
    add(
        "--results",
        type=Path,
        default=RESULTS,
        help="folder of committed records (default: benchmarks/results)",
    )
    add("--measured", type=Path, metavar="FILE", help="judge these records rather than measure")
    add("--json", type=Path, metavar="FILE", help="write the new records")
    options = parser.parse_args(argv)
    opt.check_files(options.data, options.json)
    if not options.results.is_dir():
        raise UserError(f"--results {options.results} is not a folder: give another")
    return options
