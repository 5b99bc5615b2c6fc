"""`python -m benchmarks report RECORD.json...`: records of any stages as one HTML page and as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.arguments import Parser, check_outputs
from benchmarks.records.layouts import LAYOUTS
from benchmarks.records.record_files import read
from benchmarks.records.record_page import write
from engine.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Draw the page; returns exit code 0."""
    parser = Parser("report", __doc__, " RECORD.json...")
    parser.add_argument(
        "records", nargs="+", type=Path, metavar="RECORD.json", help="files that --json wrote"
    )
    parser.add_argument("--html", type=Path, default=Path("report.html"), help="page (default: report.html)")
    parser.add_argument("--markdown", type=Path, help="tables (default: beside the page, as .md)")
    options = parser.parse_args(argv)
    markdown = options.markdown or options.html.with_suffix(".md")
    check_outputs([options.html, markdown], options.records)
    found = [record for path in options.records for record in read(path)]
    # Records of the accuracy stage have other pages.
    compared = [record for record in found if record["stage"] in LAYOUTS]
    if not compared:
        raise UserError("none of these records is a comparison: give files that a stage wrote with --json")
    if len(compared) < len(found):
        print(f"left out: {len(found) - len(compared)} records that compare nothing")
    write(compared, options.html, markdown)
    print(options.html, markdown, sep="\n")
    return 0
