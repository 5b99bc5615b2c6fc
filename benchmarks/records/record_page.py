"""The report: every comparison as a bar, lost and failed ones included, with all that it takes to repeat it.

One HTML file without external parts, and the same as Markdown tables.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.records.curves import curves
from benchmarks.records.gains import gains
from benchmarks.records.layouts import LAYOUTS, Record
from benchmarks.records.outcomes import outcome, tally
from benchmarks.records.record_files import write as write_text
from benchmarks.records.record_table import page as tables
from engine.report.drawing.axes import Figure
from engine.report.drawing.charts import clean
from engine.report.drawing.page import document, figure_card
from engine.report.run.sections import card

# More bars than this are split into a figure for each peer.
_MOST_BARS = 24

_CSS = (
    ".won{fill:var(--good)}.lost{fill:var(--bad)}.level{fill:var(--other)}.share{fill:var(--compute)}"
    ".whisker{stroke:var(--ink);stroke-width:1.4;fill:none}.one{stroke:var(--soft);stroke-width:1.6}"
    ".chart text.failed{fill:var(--bad)}rect.failed{fill:none;stroke:var(--bad)}.chart text.figures{fill:var(--ink)}"
    ".bar text{paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}"
)

_METHOD = (
    "Both sides take turns after a warm-up. A bar is the median of the ratios of neighbouring rounds; the line across "
    "its end is the interval of that median (at least 90% confidence, whatever the distribution). For times and memory "
    "the ratio is inverted, so that right of 1 ours is always better. Absolute figures are in the records' tables."
)


def write(records: list[Record], html: Path, markdown: Path) -> None:
    """Both files, whole or not at all. `records` are of any stages that compare; at least one."""
    write_text(html, render(records))
    write_text(markdown, as_markdown(records))


def render(records: Sequence[Record]) -> str:
    """The HTML page. The same records give the same page."""
    stages = dict.fromkeys(str(record["stage"]) for record in records)
    bars = [
        figure_card(figure)
        for stage in stages
        for number, run in enumerate(_by_run([record for record in records if record["stage"] == stage]))
        for figure in _bars(f"{stage}-{number}", run, several=len(_by_run(records)) > 1)
    ]
    body = [
        _header(records),
        *bars,
        _limits(records),
        _small("Scaling with cores", curves(records, "cores")),
        _small("Throughput by resolution", curves(records, "resolution")),
        card("How it was measured", f"<p>{clean(_METHOD)}</p>{_explanations(stages)}"),
        *map(_provenance, _by_run(records)),
    ]
    return document("Benchmarks", body, "Drawn from the records by python -m benchmarks report.", _CSS)


def as_markdown(records: Sequence[Record]) -> str:
    """The tables of all stages, below how many comparisons came out which way."""
    outcomes = [outcome(record) for record in records]
    not_won = [one for one in outcomes if one.kind in ("lost", "failed")]
    lines = [f"- {one.label()}: {one.figures}" for one in not_won]
    listed = "\n".join(["Lost or failed:\n", *lines, ""]) if lines else "None was lost, and none failed.\n"
    return f"# Benchmarks\n\n{tally(outcomes)}.\n\n{listed}\n{tables(records)}"


def _header(records: Sequence[Record]) -> str:
    outcomes = [outcome(record) for record in records]
    contests = [one for one in outcomes if one.kind != "share"]
    rows = "".join(
        f'<tr><th scope="row">{clean(one.label())}</th><td>{clean(one.figures)}</td></tr>'
        for one in outcomes
        if one.kind in ("lost", "failed")
    )
    listed = f'<details><summary>Lost or failed</summary><table class="words"><tbody>{rows}</tbody></table></details>'
    return (
        '<header class="card head"><h1>Benchmarks</h1>'
        f'<p class="soft">{len(contests)} comparisons: {clean(tally(outcomes))}.</p>{listed if rows else ""}</header>'
    )


def _bars(key: str, records: Sequence[Record], *, several: bool) -> list[Figure]:
    """The bars of one stage in one run; notes name the run where there are several."""
    stage = str(records[0]["stage"])
    groups = {stage: list(records)}
    if len(records) > _MOST_BARS:
        groups = {}
        for record in records:
            groups.setdefault(f"{stage} against {record['peer']}", []).append(record)
    parts = [
        (title, group[start : start + _MOST_BARS])
        for title, group in groups.items()
        for start in range(0, len(group), _MOST_BARS)
    ]
    return [
        gains(
            f"{key}-{number}",
            title,
            [outcome(record) for record in group],
            _note(group, several=several),
        )
        for number, (title, group) in enumerate(parts)
    ]


def _note(records: Sequence[Record], *, several: bool) -> str:
    """Where and when, if there are several runs; of a roofline, what the limits stand on."""
    first = records[0]
    parts = [f"{first['machine'].get('cpu')}, {str(first['started'])[:10]}."] if several else []
    for record in records:
        if record.get("limit_by"):
            limit = f"{record['limit_by']}; {record['per_image']}; {record['device_rates']}"
            parts.append(f"{outcome(record).label()}: limit by {limit}.")
    return " ".join(parts)


def _small(title: str, figures: Sequence[Figure]) -> str:
    if not figures:
        return ""
    drawn = "".join(map(figure_card, figures))
    return f'<section><h2 class="card">{clean(title)}</h2><div class="pair">{drawn}</div></section>'


def _limits(records: Sequence[Record]) -> str:
    """What limited the trainer, where an epoch of it was measured."""
    rows = "".join(
        f'<tr><th scope="row">{clean(one.label())}</th><td>{clean(found["words"])}; to speed it up: '
        f"{clean(found['advice'])}</td></tr>"
        for record, one in zip(records, map(outcome, records), strict=True)
        if (found := record.get("limits"))
    )
    if not rows:
        return ""
    return card("What limits training", f'<table class="words"><tbody>{rows}</tbody></table>')


def _explanations(stages: Sequence[str] | dict[str, None]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{clean(stage)}</th><td>{clean(LAYOUTS[stage].explanation)}</td></tr>'
        for stage in stages
    )
    return f'<details><summary>Stage by stage</summary><table class="words"><tbody>{rows}</tbody></table></details>'


def _by_run(records: Sequence[Record]) -> list[list[Record]]:
    """Records that were made on one machine with the same versions and source."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        key = repr((record["machine"], record["versions"], record["revision"]))
        runs.setdefault(key, []).append(record)
    return list(runs.values())


def _provenance(records: Sequence[Record]) -> str:
    first = records[0]
    data = dict.fromkeys(
        str(record[key]) for record in records for key in ("data", "peer_data") if record.get(key)
    )
    rows = [
        ("stages", ", ".join(dict.fromkeys(str(record["stage"]) for record in records))),
        ("machine", ", ".join(f"{key} {value}" for key, value in first["machine"].items() if value)),
        ("versions", ", ".join(f"{key} {value}" for key, value in first["versions"].items() if value)),
        ("source revision", str(first["revision"])),
        ("started", ", ".join(dict.fromkeys(str(record["started"]) for record in records))),
        *(("data", identity) for identity in data),
        *((name, how) for name, how in _settings(records).items()),
    ]
    cells = "".join(
        f'<tr><th scope="row">{clean(name)}</th><td>{clean(value)}</td></tr>' for name, value in rows
    )
    return card("Command and machine", f'<table class="words"><tbody>{cells}</tbody></table>')


def _settings(records: Sequence[Record]) -> dict[str, str]:
    """How each side was set up."""
    return {
        f"{record['stage']}: {record[side]}": str(record[f"{side}_settings"])
        for record in records
        for side in ("ours", "peer")
        if record.get(f"{side}_settings")
    }
