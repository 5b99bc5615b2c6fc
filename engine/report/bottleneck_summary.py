"""What limited a run, from its epochs' verdicts: the stage, the figures that say so, and what to change."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from engine.report import text
from engine.runs.log_reader import Line

# What `limits` of an epoch's line holds, as rows of a table.
_SECONDS = {
    "step_seconds": "step",
    "idle_seconds": "waiting for data",
    "fill_seconds": "making batches",
    "copy_seconds": "copies to the device",
    "decode_cpu_seconds": "decoding, CPU time",
    "process_cpu_seconds": "all threads, CPU time",
    "decode_queue_seconds": "decoding threads waiting for a core",
    "read_seconds": "decoding threads waiting for the disk",
    "window_seconds": "waiting for a window of the file",
}


def limiting(epochs: Sequence[Line]) -> Line | None:
    """The epoch that speaks for all: the last one that was limited by what limited most of the time."""
    known = _judged(epochs)
    if not known:
        return None
    seconds: Counter[str] = Counter()
    for epoch in known:
        seconds[epoch["limited_by"]] += epoch.get("train_seconds") or 0
    stage = max(seconds, key=lambda name: seconds[name])
    return [epoch for epoch in known if epoch["limited_by"] == stage][-1]


def sentence(epochs: Sequence[Line]) -> str:
    """What limited most of the training time, and what to change; empty where it is not known."""
    epoch = limiting(epochs)
    if epoch is None:
        return ""
    known = _judged(epochs)
    alike = sum(other["limited_by"] == epoch["limited_by"] for other in known)
    often = "" if alike == len(known) else f" (in {alike} of {len(known)} epochs)"
    return f"{epoch['limits'].get('words')}{often}; to change it: {epoch['limits'].get('advice')}"


def rows(epoch: Line) -> list[tuple[str, str]]:
    """An epoch's figures by name; what is nothing is left out."""
    figures: dict[str, Any] = epoch["limits"]
    found = [(name, _seconds(figures[key], epoch)) for key, name in _SECONDS.items() if figures.get(key)]
    each = figures.get("decode_cpu_ms_per_image")
    counted = [
        ("decoding an image, CPU time", f"{text.number(each, 2)} ms" if each else ""),
        ("read from disks", _megabytes(figures.get("disk_bytes"))),
        ("records used", _megabytes(figures.get("record_bytes"))),
        ("slots ready when a batch was asked for", text.percent(figures.get("ready"), 0)),
        ("decoding threads", text.count(figures.get("workers"))),
        ("cores", text.count(figures.get("cores"))),
    ]
    return [*found, *((name, value) for name, value in counted if value not in ("", text.MISSING))]


def _judged(epochs: Sequence[Line]) -> list[Line]:
    return [epoch for epoch in epochs if epoch.get("limited_by") and isinstance(epoch.get("limits"), dict)]


def _seconds(seconds: float, epoch: Line) -> str:
    """Seconds, and which share of the epoch's training they are."""
    whole = epoch.get("train_seconds")
    return text.duration(seconds) + (f" ({text.percent(seconds / whole, 0)})" if whole else "")


def _megabytes(count: Any) -> str:
    return f"{count / 1e6:,.1f} MB" if count else ""
