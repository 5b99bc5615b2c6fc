"""`python -m benchmarks readme`: the README's table of figures, made from the committed records and nothing else."""

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

from benchmarks.layouts import LAYOUTS, Record
from benchmarks.options import Parser
from benchmarks.recording import read, write
from benchmarks.report.outcomes import outcome
from engine.errors import UserError

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
    text = options.readme.read_text(encoding="utf-8")
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
    """A row for each pair of ours and peer, in each case, of the stages that matter most; machine: measured last."""
    rows, machine = [], ""
    for stage, words in _STAGES.items():
        for record, path in _headlines(stage, results):
            one = outcome(record)
            machine = f"{record['machine']['cpu']}, {record['machine']['cores']} cores"
            what = ", ".join(f"{name} {value}" for name, value in one.what.items())
            if "NOT in this figure" in str(record.get("form")):
                what += "; a device still has to finish the images"
            rows.append(
                f"| {words} | `{record['ours']}` | {record['peer']} | {what} | {one.figures} "
                f"| [record](benchmarks/results/{path.with_suffix('.md').name}) |"
            )
    head = "| what | ours | peer | at | times as good [interval] | |\n|---|---|---|---|---:|---|"
    said = (
        f"Medians of paired ratios in turns, with the interval that holds each with at least 90% confidence; above 1 "
        f"ours is better, also where less is ({machine}). `python -m benchmarks STAGE --against PEER --data "
        "FOLDER_OR_TAR` repeats a row, `python -m benchmarks all --json FILE` all of it in short."
    )
    return "\n".join([textwrap.fill(said, 116), "", head, *rows, ""])


def _headlines(stage: str, results: Path) -> list[tuple[Record, Path]]:
    """Of each pair in each case the newest record with most cores and highest resolution, at the hardest crop."""
    found = [(record, path) for path in results.glob(f"{stage}_*.json") for record in read(path)]
    newest: dict[tuple[str, ...], tuple[Record, Path]] = {}
    for record, path in sorted(found, key=lambda pair: str(pair[0]["started"])):
        if _meant(record):
            cells = (cell(record) for cell in LAYOUTS[stage].what.values())
            newest[record["ours"], record["peer"], *cells] = record, path
    best: dict[tuple[str, ...], tuple[Record, Path]] = {}
    for record, path in newest.values():
        pair = record["ours"], record["peer"], str(record.get("case"))
        if pair not in best or _size(record) > _size(best[pair][0]):
            best[pair] = record, path
    return list(best.values())


def _meant(record: Record) -> bool:
    """Whether it is a comparison of equals, as a run meets it day by day."""
    usual = record.get("since", "imports") == "imports" and record.get("start", "second") == "second"
    warm = record["cache"] not in ("first", "cold")
    return usual and warm and record["peer"] != "self" and bool(record.get("same_network", True))


def _size(record: Record) -> tuple[int, int, float]:
    return record["cores"], record["resolution"], -record["scale"][0]


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
