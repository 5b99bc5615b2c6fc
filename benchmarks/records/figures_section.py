"""The table of figures in docs/benchmarks.md, made from the committed records alone."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from benchmarks.records.layouts import LAYOUTS, Record
from benchmarks.records.outcomes import NO_RIVALS, outcome, tally
from benchmarks.records.record_files import read
from engine.errors import UserError

BEGIN = "<!-- from benchmarks/results, by `python -m benchmarks figures` -->"
END = "<!-- end of what `python -m benchmarks figures` writes -->"

_STAGES = {
    "loader": "images/s of the loader",
    "memory": "memory of the loader",
    "startup": "time to the first batch",
    "convert": "images/s of a conversion",
    "step": "images/s of a training step",
}


def with_section(text: str, body: str) -> str:
    """`text` with `body` between the two markers. Raises UserError where one is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"the page lacks the lines around its figures: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{body}\n{END}{after}"


def section(results: Path) -> str:
    """A row for each pair and case of the stages that matter most, and how all comparisons came out."""
    if not results.is_dir():
        raise UserError(f"--results {results} is not a folder: give another")
    known = [(record, path) for path in sorted(results.glob("*.json")) for record in read(path)]
    chosen = [pair for stage in _STAGES for pair in _headlines(stage, known)]
    machines = {f"{record['machine']['cpu']}, {record['machine']['cores']} cores" for record, _ in chosen}
    head = "| what | ours | peer | at | ours / peer [90% interval] | |\n|---|---|---|---|---:|---|"
    intro = (
        "Ours / peer, median of alternating rounds [90% interval]. Above 1 ours is better, for times and memory too "
        f"({' and '.join(sorted(machines))}). {_all_of_it(known)}Each record names machine, versions and data. "
        "`python -m benchmarks STAGE` measures one stage, `python -m benchmarks all --json FILE` all of them in short."
    )
    return "\n".join([textwrap.fill(intro, 116), "", head, *(_row(*pair) for pair in chosen), ""])


def _row(record: Record, path: Path) -> str:
    one = outcome(record)
    what = ", ".join(f"{name} {value}" for name, value in one.what.items())
    if "NOT in this figure" in str(record.get("form")):
        what += "; a device still has to finish the images"
    if record.get("short_run"):
        what += "; short rounds"
    return (
        f"| {_STAGES[record['stage']]} | `{record['ours']}` | {record['peer']} | {what} | {one.figures} "
        f"| [record](../benchmarks/results/{path.with_suffix('.md').name}) |"
    )


def _all_of_it(known: Sequence[tuple[Record, Path]]) -> str:
    """The result of the newest run of all stages, with a link to the comparisons that it lost."""
    runs = [(record, path) for record, path in known if record.get("short_run")]
    if not runs:
        return ""
    newest, path = max(runs, key=lambda pair: str(pair[0]["short_run"]))
    outcomes = [outcome(record) for record, _ in runs if record["short_run"] == newest["short_run"]]
    report = f"../benchmarks/results/{path.stem}_report.md"
    return f"Of the comparisons of all stages: {tally(outcomes)} ([which]({report})). "


def _headlines(stage: str, known: Sequence[tuple[Record, Path]]) -> list[tuple[Record, Path]]:
    """For each pair and case the newest record with most cores, highest resolution and smallest crops.

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
    """Whether it is a comparison of equals in everyday use: second start, warm cache, same network."""
    usual = record.get("start", "second") == "second" and record["cache"] not in ("first", "cold")
    rivals = record["peer"] not in NO_RIVALS and bool(record.get("same_network", True))
    return usual and rivals and not record.get("error")


def _size(record: Record) -> tuple[bool, int, int, float]:
    return not record.get("short_run"), record["cores"], record["resolution"], -record["scale"][0]
