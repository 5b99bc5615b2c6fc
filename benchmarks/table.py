"""Records as a table that reads well in a terminal and in Markdown."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How one stage's records are shown: further columns (head -> cell), and what they mean."""

    what: dict[str, Callable[[Record], str]]
    """Beside who: what was measured."""
    unit: str
    """Of both sides' values."""
    digits: int
    """After the point, in such a value."""
    more: dict[str, Callable[[Record], str]]
    """After the values."""
    explanation: str


_PX: dict[str, Callable[[Record], str]] = {"px": lambda r: str(r["resolution"])}
_SCALE: dict[str, Callable[[Record], str]] = {"scale": lambda r: f"{r['scale'][0]:g}-{r['scale'][1]:g}"}
_BATCH: dict[str, Callable[[Record], str]] = {"batch": lambda r: str(r["batch"])}

_RATIO = "the median of paired rounds and the interval that holds it with at least 90% confidence"

_LAYOUTS = {
    "loader": _Layout(
        what={**_PX, **_SCALE, "cores": lambda r: str(r["cores"]), "cache": lambda r: str(r["cache"])},
        unit="img/s",
        digits=0,
        more={
            "ours ms/img": lambda r: f"{r['ours_cpu_ms_per_image']:.3f}",
            "peer ms/img": lambda r: f"{r['peer_cpu_ms_per_image']:.3f}",
            "pixels differ": lambda r: (
                f"{r['pixel_difference']:.2f}"
                + ("" if r["labels_equal"] else ", labels too")
                # Older records do not tell.
                + ("" if r.get("each_image_once", True) else ", not each image once")
            ),
            "other load": lambda r: f"{r['other_cores']:.2f}",
        },
        explanation=f"ratio: ours / peer's images per second, {_RATIO}; above 1 ours is faster. ms/img: CPU time "
        "of all threads. pixels differ: mean absolute difference on the same centre crops, in levels of 0 to 255. "
        "other load: the most cores that anything else kept busy during a round. cache: warm, each side has read "
        "the images before; first, each round is a new process that reads each image for the first time; cold, "
        "likewise and from the disk.",
    ),
    "memory": _Layout(
        what={**_PX, **_BATCH},
        unit="MB",
        digits=0,
        more={},
        explanation="MB (10^6 bytes): the most RssAnon + RssShmem that /proc/PID/status showed of the loader's "
        "process during an epoch's first batches, less what it was after the imports and before the file was "
        "opened; code compiled since counts, pages of the mapped file don't. ratio: ours / peer's, "
        f"{_RATIO}; below 1 ours takes less.",
    ),
    "startup": _Layout(
        what={"start": lambda r: str(r["start"]), "since": lambda r: str(r["since"])},
        unit="s",
        digits=3,
        more={},
        explanation="seconds until the first batch is there. start: cold, with no compiled code kept from before; "
        "second, with that of an earlier start; new resolution, within a running process. since: the process's "
        f"start, the end of its imports, or asking for it. ratio: ours / peer's, {_RATIO}; below 1 ours is quicker.",
    ),
    "convert": _Layout(
        what={
            "case": lambda r: str(r["case"]),
            "px": lambda r: str(r["resolution"] or "any"),
            "workers": lambda r: str(r["cores"]),
        },
        unit="img/s",
        digits=0,
        more={
            "ours MB/s": lambda r: f"{r['ours_bytes_per_second'] / 1e6:,.1f}",
            "peer MB/s": lambda r: f"{r['peer_bytes_per_second'] / 1e6:,.1f}",
            "ours kB/img": lambda r: f"{r['ours_bytes_per_image'] / 1e3:.1f}",
            "peer kB/img": lambda r: f"{r['peer_bytes_per_image'] / 1e3:.1f}",
            "ours ms/img": lambda r: f"{r['ours_cpu_ms_per_image']:.2f}",
            "peer ms/img": lambda r: f"{r['peer_cpu_ms_per_image']:.2f}",
        },
        explanation=f"ratio: ours / peer's images per second, {_RATIO}; above 1 ours is faster. Timed from looking "
        "for the images until the file is synced to the disk, the start of the encoding processes included. case: "
        "what is done to each image. px: limit of the longer side. MB/s: what was written. ms/img: CPU time of all "
        "processes.",
    ),
    "resize": _Layout(
        what={**_PX, **_SCALE, **_BATCH},
        unit="img/s",
        digits=0,
        more={
            "pixels differ": lambda r: f"{r['pixel_difference']:.1e}",
            "at most": lambda r: f"{r['most_pixel_difference']:g}",
        },
        explanation=f"ratio: ours / peer's images per second, {_RATIO}; above 1 ours is faster. pixels differ: mean "
        "absolute difference to what the CPU decodes, and the largest one, in levels of 0 to 255.",
    ),
    "step": _Layout(
        what={
            "network": lambda r: str(r["arch"]),
            **_PX,
            **_BATCH,
            "BlurPool": lambda r: _on(r["blurpool"]),
            "ours compiled": lambda r: _on(r["compile"]),
        },
        unit="img/s",
        digits=0,
        more={
            "ours ms": lambda r: f"{1000 * r['batch'] / r['ours_median']:.1f}",
            "peer ms": lambda r: f"{1000 * r['batch'] / r['peer_median']:.1f}",
            "losses differ": lambda r: (
                f"{r['loss_differences'][0]:.1e}" if r["same_network"] else "another network"
            ),
            "other load": lambda r: f"{r['other_cores']:.2f}",
        },
        explanation=f"ratio: ours / peer's images per second of whole training steps, {_RATIO}; above 1 ours is "
        "faster. ms: of a step. losses differ: by how much, in the first step from the same weights on the same "
        "images. other load: the most cores that anything else kept busy during a round.",
    ),
    "overhead": _Layout(
        what={"network": lambda r: str(r["arch"]), **_PX, **_BATCH, "compiled": lambda r: _on(r["compile"])},
        unit="img/s",
        digits=1,
        more={
            "overhead": lambda r: _overhead(r["ratio"]),
            "bare ms": lambda r: f"{1000 * r['batch'] / r['peer_median']:.2f}",
            "other load": lambda r: f"{r['other_cores']:.2f}",
        },
        explanation=f"ratio: the loop's / the bare step's images per second, {_RATIO}. overhead: by how much the "
        "loop's steps take longer, 1 / ratio - 1, with its interval. loop: an epoch of engine.train.trainer.Trainer, "
        "written into the run's folder and report, its progress bar drawn, with the moving average of the weights. "
        "bare ms: of a step without any of it.",
    ),
    "blurpool": _Layout(
        what={
            "what": lambda r: str(r["what"]),
            **_PX,
            "precision": lambda r: r["precision"] + (", compiled" if r["compiled"] else ""),
            **_BATCH,
        },
        unit="s",
        digits=4,
        more={},
        explanation=f"seconds forward and backward, or of a training step. ratio: ours / peer's, {_RATIO}; below 1 "
        "ours is quicker. What the names mean is in benchmarks/bench_blurpool.py.",
    ),
    "augment": _Layout(
        what={"what": lambda r: str(r["what"]), **_PX, **_BATCH},
        unit="img/s",
        digits=0,
        more={"how": lambda r: str(r["how"])},
        explanation=f"ratio: ours / peer's images per second, {_RATIO}; above 1 ours is faster. how: the way in which "
        "the peer is used. From a batch on the device to the normalised batch that a step takes: ours from normalised "
        "float32, a decision for each image; torchvision from uint8 levels, kornia from float32 ones.",
    ),
    "techniques": _Layout(
        what={**_PX, "precision": lambda r: str(r["precision"]), **_BATCH},
        unit="s",
        digits=3,
        more={"options": lambda r: " ".join(f"{key}={value}" for key, value in r["options"].items())},
        explanation="seconds of a training step, augmentation included. ratio: with the technique / without, "
        f"{_RATIO}; above 1 it costs time.",
    ),
}


def table(records: Sequence[Record]) -> str:
    """One line for each comparison, columns aligned; all records are of one stage."""
    layout = _LAYOUTS[records[0]["stage"]]
    head = ("ours", "peer", *layout.what, *_value_heads(layout), *layout.more)
    rows = [head, *(_row(record, layout) for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def page(records: Sequence[Record]) -> str:
    """The table with all that it takes to repeat it."""
    first = records[0]
    machine = ", ".join(f"{key} {value}" for key, value in first["machine"].items() if value)
    versions = ", ".join(f"{key} {value}" for key, value in first["versions"].items())
    data = [record[key] for record in records for key in ("data", "peer_data") if key in record]
    forms = [
        f"batches of {record['batch']}, {record['ours']}: {record['form']}"
        for record in records
        if "batch" in record
    ]
    facts = [
        f"machine: {machine}",
        f"versions: {versions}",
        f"revision: {first['revision']}",
        f"started: {first['started']}",
        *(f"data: {identity}" for identity in dict.fromkeys(data)),
        *dict.fromkeys(forms),
        *(f"{name}: {how}" for name, how in _settings(records).items()),
        f"{first.get('turns', 'in turns, each side in a process of its own pinned to the cores')}; "
        f"{max(record['n'] for record in records)} rounds of each",
    ]
    body = "\n".join(f"- {fact}" for fact in facts)
    explanation = textwrap.fill(_LAYOUTS[first["stage"]].explanation, 110)
    return f"# {first['stage']}, {first['device']}\n\n{table(records)}\n\n{explanation}\n\n{body}\n"


def _on(switch: bool) -> str:
    return "on" if switch else "off"


def _overhead(ratio: Mapping[str, float]) -> str:
    middle, low, high = (100 * (1 / ratio[key] - 1) for key in ("median", "high", "low"))
    return f"{middle:.2f}% [{low:.2f}, {high:.2f}]"


def _value_heads(layout: _Layout) -> tuple[str, ...]:
    return ("ratio [low, high]", f"ours {layout.unit}", f"peer {layout.unit}")


def _settings(records: Sequence[Record]) -> dict[str, str]:
    found: dict[str, str] = {}
    for record in records:
        for side in ("ours", "peer"):
            if f"{side}_settings" in record:
                found[record[side]] = record[f"{side}_settings"]
    return found


def _row(record: Record, layout: _Layout) -> tuple[str, ...]:
    who = (record["ours"], record["peer"], *(cell(record) for cell in layout.what.values()))
    if record.get("error"):
        return (*who, f"failed: {record['error']}", "", "", *[""] * len(layout.more))
    ratio = record["ratio"]
    return (
        *who,
        f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]",
        _values(record["ours_median"], record["ours_rounds"], layout.digits),
        _values(record["peer_median"], record["peer_rounds"], layout.digits),
        *(cell(record) for cell in layout.more.values()),
    )


def _values(median: float, rounds: Sequence[float], digits: int) -> str:
    return f"{median:,.{digits}f} ({min(rounds):,.{digits}f} to {max(rounds):,.{digits}f})"
