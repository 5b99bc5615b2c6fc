"""What limited a run, from its epochs' limits: the stage, its figures, and what to change."""

from collections import defaultdict
from collections.abc import Sequence

from engine.report import text
from engine.runs.log_schema import EpochLine, Limits

# Fields of Limits in seconds, as rows of a table.
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
    "download_seconds": "waiting for a window of the download",
}


def limiting(epochs: Sequence[EpochLine]) -> tuple[EpochLine, Limits] | None:
    """The epoch that stands for all: the last one limited by the stage that limited most of the time."""
    known = _judged(epochs)
    if not known:
        return None
    seconds: dict[str | None, float] = defaultdict(float)
    for epoch, _ in known:
        seconds[epoch.limited_by] += epoch.train_seconds or 0.0
    stage = max(seconds, key=lambda name: seconds[name])
    return [(epoch, limits) for epoch, limits in known if epoch.limited_by == stage][-1]


def sentence(epochs: Sequence[EpochLine]) -> str:
    """What limited most of the training time, and what to change; empty where it is not known."""
    found = limiting(epochs)
    if found is None:
        return ""
    (epoch, limits), known = found, _judged(epochs)
    alike = sum(other.limited_by == epoch.limited_by for other, _ in known)
    often = "" if alike == len(known) else f" (in {alike} of {len(known)} epochs)"
    return f"{limits.words}{often}; to speed it up: {limits.advice}"


def rows(epoch: EpochLine, limits: Limits) -> list[tuple[str, str]]:
    """An epoch's figures by name, without those that are 0 or unknown."""
    seconds = {name: getattr(limits, key) for key, name in _SECONDS.items()}
    each = limits.decode_cpu_ms_per_image
    counted = [
        ("decoding an image, CPU time", f"{text.number(each, 2)} ms" if each else ""),
        ("read from disks", _megabytes(limits.disk_bytes)),
        ("downloaded", _megabytes(limits.download_bytes)),
        ("records used", _megabytes(limits.record_bytes)),
        ("slots ready when a batch was asked for", text.percent(limits.ready, 0)),
        ("decoding threads", text.count(limits.workers)),
        ("cores", text.count(limits.cores)),
    ]
    return [
        *((name, _seconds(value, epoch)) for name, value in seconds.items() if value),
        *((name, value) for name, value in counted if value not in ("", text.MISSING)),
    ]


def _judged(epochs: Sequence[EpochLine]) -> list[tuple[EpochLine, Limits]]:
    return [(epoch, epoch.limits) for epoch in epochs if epoch.limited_by and epoch.limits]


def _seconds(seconds: float, epoch: EpochLine) -> str:
    """Seconds, and their share of the epoch's training."""
    whole = epoch.train_seconds
    return text.duration(seconds) + (f" ({text.percent(seconds / whole, 0)})" if whole else "")


def _megabytes(count: float | None) -> str:
    return f"{count / 1e6:,.1f} MB" if count else ""
