"""`python -m benchmarks readme`: the README's table of figures, made from the committed records and nothing else."""

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

from benchmarks.layouts import LAYOUTS, Record
from benchmarks.options import Parser
from benchmarks.recording import read, write
from benchmarks.report.outcomes import NO_RIVALS, outcome, tally
from engine.errors import UserError, describe_os_error

ROOT = Path(__file__).parents[1]
BEGIN = "<!-- from benchmarks/results, by `python -m benchmarks readme` -->"
END = "<!-- end of what `python -m benchmarks readme` writes -->"

_STAGES = {
    "loader": "images/s of the loader",
    "memory": "memory of the loader",
    "startup": "time to the first batch",
    "convert": "images/s of a conversion",
    "step": "images/s of a training step",
}


def main(argv: Sequence[str]) -> int:
    """Write the section, or with --check say whether it is up to date: exit code 1 where it is not."""
    options = _parse(argv)
    try:
        text = options.readme.read_text(encoding="utf-8")
    except OSError as error:
        raise describe_os_error(error, options.readme, "read") from None
    renewed = with_section(text, section(options.results))
    if options.check:
        print("up to date" if renewed == text else f"{options.readme}: run `python -m benchmarks readme`")
        return 0 if renewed == text else 1
    write(options.readme, renewed)
    return 0


def with_section(text: str, body: str) -> str:
    """`text` with `body` between the two markers. Raises UserError where they are not there once each."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"the README lacks the lines between which its figures stand: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{body}\n{END}{after}"


def section(results: Path) -> str:
    """A row for each pair of ours and peer, in each case, of the stages that matter most, and how all came out."""
    if not results.is_dir():
        raise UserError(f"--results {results} is no folder")
    known = [(record, path) for path in sorted(results.glob("*.json")) for record in read(path)]
    chosen = [pair for stage in _STAGES for pair in _headlines(stage, known)]
    machines = {f"{record['machine']['cpu']}, {record['machine']['cores']} cores" for record, _ in chosen}
    head = "| what | ours | peer | at | times as good [interval] | |\n|---|---|---|---|---:|---|"
    said = (
        f"Medians of paired ratios in turns, with the interval that holds each with at least 90% confidence; above 1 "
        f"ours is better, also where less is ({' and '.join(sorted(machines))}). {_all_of_it(known)}Each record tells "
        "with what it was made, `python -m benchmarks STAGE --help` how to measure another, and `python -m benchmarks "
        "all --json FILE` measures every stage in short."
    )
    return "\n".join([textwrap.fill(said, 116), "", head, *(_row(*pair) for pair in chosen), ""])


def _row(record: Record, path: Path) -> str:
    one = outcome(record)
    what = ", ".join(f"{name} {value}" for name, value in one.what.items())
    if "NOT in this figure" in str(record.get("form")):
        what += "; a device still has to finish the images"
    if record.get("short_run"):
        what += "; short rounds"
    return (
        f"| {_STAGES[record['stage']]} | `{record['ours']}` | {record['peer']} | {what} | {one.figures} "
        f"| [record](benchmarks/results/{path.with_suffix('.md').name}) |"
    )


def _all_of_it(known: Sequence[tuple[Record, Path]]) -> str:
    """How the newest run of all stages came out, with the way to what it lost."""
    runs = [(record, path) for record, path in known if record.get("short_run")]
    if not runs:
        return ""
    newest, path = max(runs, key=lambda pair: str(pair[0]["short_run"]))
    outcomes = [outcome(record) for record, _ in runs if record["short_run"] == newest["short_run"]]
    report = f"benchmarks/results/{path.stem}_report.md"
    return f"Of the comparisons of all stages: {tally(outcomes)} ([which]({report})). "


def _headlines(stage: str, known: Sequence[tuple[Record, Path]]) -> list[tuple[Record, Path]]:
    """Of each pair in each case the newest record with most cores and highest resolution, at the hardest crop.

    One of short rounds only where there is no other.
    """
    found = [pair for pair in known if pair[0]["stage"] == stage and _meant(pair[0])]
    newest: dict[tuple[str, ...], tuple[Record, Path]] = {}
    for record, path in sorted(found, key=lambda pair: str(pair[0]["started"])):
        cells = (cell(record) for cell in LAYOUTS[stage].what.values())
        newest[str(bool(record.get("short_run"))), record["ours"], record["peer"], *cells] = record, path
    best: dict[tuple[str, ...], tuple[Record, Path]] = {}
    for record, path in newest.values():
        case = tuple(str(record.get(name)) for name in ("ours", "peer", "case", "since", "blurpool"))
        if case not in best or _size(record) > _size(best[case][0]):
            best[case] = record, path
    return list(best.values())


def _meant(record: Record) -> bool:
    """Whether it is a comparison of equals that was made, as a run meets it day by day."""
    usual = record.get("start", "second") == "second" and record["cache"] not in ("first", "cold")
    rivals = record["peer"] not in NO_RIVALS and bool(record.get("same_network", True))
    return usual and rivals and not record.get("error")


def _size(record: Record) -> tuple[bool, int, int, float]:
    return not record.get("short_run"), record["cores"], record["resolution"], -record["scale"][0]


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="python -m benchmarks readme", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 where it is out of date"
    )
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="file (default: README.md)")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of committed records"
    )
    return parser.parse_args(argv)
