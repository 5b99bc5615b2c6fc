"""Images per second by cores and by resolution: a small figure for each pair, with ours and the peer's."""

from collections.abc import Mapping, Sequence

from benchmarks.records.layouts import LAYOUTS, Record
from engine.report import text
from engine.report.drawing import charts
from engine.report.drawing.axes import HALF, Figure, frame_of, plain_ticks

# Axis: the key of a record, and what it is called.
_AXES = {"cores": "cores", "resolution": "pixels per side"}
_COLUMNS = {"cores": ("cores", "workers"), "resolution": ("px",)}


def curves(records: Sequence[Record], axis: str) -> list[Figure]:
    """A figure for each pair of ours and peer that was measured at several values of `axis`: cores or resolution.

    Of several that differ only in what else was measured, the one with the most values, and the last of those.
    """
    pairs: dict[tuple[str, ...], list[Record]] = {}
    for (pair, _), group in _groups(records, axis).items():
        if len(group) >= max(2, len(pairs.get(pair, []))):
            pairs[pair] = group
    return [_figure(number, group, axis) for number, group in enumerate(pairs.values())]


def _groups(
    records: Sequence[Record], axis: str
) -> Mapping[tuple[tuple[str, ...], tuple[str, ...]], list[Record]]:
    """Records that differ in `axis` alone, each value once, by pair and by what they have in common."""
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], dict[int, Record]] = {}
    for record in records:
        if record.get("error") or not str(record["metric"]).endswith("images_per_second"):
            continue
        if record["stage"] == "roofline":
            continue
        pair = (str(record["stage"]), str(record["ours"]), str(record["peer"]))
        rest = (
            *_rest(record, axis).values(),
            str(record["machine"].get("cpu")),
            str(record["machine"].get("gpus")),
        )
        other = str(record["resolution" if axis == "cores" else "cores"])
        found.setdefault((pair, (*rest, other)), {})[int(record[axis])] = record
    return {key: [group[value] for value in sorted(group)] for key, group in found.items()}


def _rest(record: Record, axis: str) -> dict[str, str]:
    cells = LAYOUTS[record["stage"]].what.items()
    return {name: cell(record) for name, cell in cells if name not in _COLUMNS[axis]}


def _figure(number: int, group: Sequence[Record], axis: str) -> Figure:
    first = group[0]
    places = [int(record[axis]) for record in group]
    most = max(max(record[f"{side}_rounds"]) for record in group for side in ("ours", "peer"))
    ticks = charts.nice_ticks(0, most, 4)
    room = 0.08 * (places[-1] - places[0])
    frame = frame_of(HALF, (places[0] - room, places[-1] + room), (0, ticks[-1]))
    names = [(tick, text.rate_tick(tick)) for tick in ticks]
    parts = [*charts.axes(frame, plain_ticks(places), names, _AXES[axis], "images per second")]
    for side, css in (("peer", "second dashed"), ("ours", "first")):
        points = [(float(record[axis]), float(record[f"{side}_median"])) for record in group]
        parts += [charts.line(frame, points, css), charts.dots(frame, points, css.split()[0], 3.5)]
        for record in group:
            x, rounds = frame.x(record[axis]), record[f"{side}_rounds"]
            parts.append(
                f'<path class="whisker" d="M{x:.1f} {frame.y(min(rounds)):.1f}V{frame.y(max(rounds)):.1f}"/>'
            )
    readings = [
        (
            float(record[axis]),
            f"{record[axis]}: {text.rate(record['ours_median'])}, {text.rate(record['peer_median'])}",
        )
        for record in group
    ]
    parts += charts.readings(frame, readings)
    about = "; ".join(words for _, words in readings)
    title = f"{first['stage']}: {first['ours']}, {first['peer']}"
    drawn = charts.svg(frame, f"{axis}-{number}", title, about, parts, HALF.name)
    common = {
        **_rest(first, axis),
        ("px" if axis == "cores" else "cores"): str(first["resolution" if axis == "cores" else "cores"]),
    }
    note = ", ".join(f"{name} {value}" for name, value in common.items())
    legend = [("first", str(first["ours"])), ("second dashed", str(first["peer"]))]
    return Figure(
        title=title, svgs=[drawn], legend=legend, note=f"{note}. Upright: least to most of the rounds."
    )
