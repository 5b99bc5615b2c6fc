"""`python -m benchmarks figures`: write the table of docs/benchmarks.md from the committed records."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.arguments import Parser
from benchmarks.records.figures_section import section, with_section
from benchmarks.records.record_files import write
from engine.errors import describe_os_error

ROOT = Path(__file__).parents[2]


def main(argv: Sequence[str]) -> int:
    """Write the section; with --check say whether it is up to date, exit code 1 where it is not."""
    options = _parse(argv)
    try:
        text = options.page.read_text(encoding="utf-8")
    except OSError as error:
        raise describe_os_error(error, options.page, "read") from None
    renewed = with_section(text, section(options.results))
    if options.check:
        print("up to date" if renewed == text else f"{options.page}: run `python -m benchmarks figures`")
        return 0 if renewed == text else 1
    write(options.page, renewed)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("figures", __doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 where it is out of date"
    )
    parser.add_argument(
        "--page",
        "--readme",
        type=Path,
        default=ROOT / "docs" / "benchmarks.md",
        help="file with the table (default: docs/benchmarks.md)",
    )
    parser.add_argument(
        "--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of committed records"
    )
    return parser.parse_args(argv)
