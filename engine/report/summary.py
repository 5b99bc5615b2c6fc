"""What the terminal says of a run: one line per epoch, and the closing summary."""

from typing import Any

from engine.report import text
from engine.report.history import Line, build_history


def epoch_line(entry: Line) -> str:
    """One epoch in one line; what was not measured is left out."""
    width = len(str(entry.get("epochs", "")))
    parts = [
        f"epoch {entry.get('epoch', '?'):>{width}}/{entry.get('epochs', '?')}",
        f"{entry.get('resolution', '?')} px",
        f"lr {text.significant(entry.get('lr'))}",
        f"loss {text.number(entry.get('train_loss'))}",
    ]
    if entry.get("top1") is not None:
        parts.append(f"val {text.number(entry.get('val_loss'))}")
        parts.append(
            f"top-1 {text.percent(entry.get('top1'))} (no TTA {text.percent(entry.get('top1_no_tta'))})"
        )
    parts.append(f"{text.rate(entry.get('images_per_second'))} img/s")
    parts.append(f"waiting {text.percent(waiting_share([entry]), 0)}")
    parts.append(text.duration(entry.get("elapsed_seconds")))
    return "  ".join(parts)


def closing_summary(config: dict[str, Any], lines: list[Line]) -> str:
    """What came out of the run, in a few aligned lines; the verdict first."""
    history = build_history(lines)
    result = history.result or {}
    rows = [("verdict", str(result.get("verdict") or "no result yet"))]
    rows.append(
        (
            "accuracy",
            _measured(result, "top1", "top5", measured_as(result, "val", tta=bool(result.get("tta")))),
        )
    )
    if result.get("tta"):
        rows.append(
            ("no TTA", _measured(result, "top1_no_tta", "top5_no_tta", measured_as(result, "val", tta=False)))
        )
    rows.append(
        ("plain", _measured(result, "plain_top1", "plain_top5", measured_as(result, "plain", tta=False)))
    )
    rows.append(("time", text.duration(result.get("elapsed_seconds")) + " of training and validation"))
    if history.epochs:
        throughput = f"{text.rate(mean_throughput(history.epochs))} img/s"
        waiting = (
            f"{text.percent(waiting_share(history.epochs), 1)} of the training time spent waiting for data"
        )
        rows.append(("throughput", f"{throughput}, {waiting}"))
    reference = config.get("reference", {})
    if reference.get("source") and reference.get("top1"):
        rows.append(
            ("reference", f"{text.percent(reference['top1'])}, published by {reference['source']}, not ours")
        )
    if result.get("weights_note"):
        rows.append(("weights", str(result["weights_note"])))
    return "\n".join(f"{name:<10} {value}" for name, value in rows)


def measured_as(result: Line, which: str, *, tta: bool) -> str:
    """How an accuracy was measured, which belongs to every accuracy: resolution, crop ratio, TTA."""
    resolution, ratio = result.get(f"{which}_resolution", "?"), result.get(f"{which}_ratio")
    return f"{resolution} px, crop ratio {text.significant(ratio)}, {'with flip TTA' if tta else 'no TTA'}"


def mean_throughput(epochs: list[Line]) -> float | None:
    """Training images per second of training time over all epochs."""
    seconds = total(epochs, "train_seconds")
    return total(epochs, "images") / seconds if seconds else None


def waiting_share(epochs: list[Line]) -> float | None:
    """Share of the training time in which the step waited for data; None where that was not measured."""
    measured = [epoch for epoch in epochs if epoch.get("data_wait_seconds") is not None]
    seconds = total(measured, "train_seconds")
    return total(measured, "data_wait_seconds") / seconds if seconds else None


def total(epochs: list[Line], key: str) -> float:
    """Sum over the epochs, unknown values counting as nothing."""
    return float(sum(epoch.get(key) or 0 for epoch in epochs))


def _measured(result: Line, top1: str, top5: str, how: str) -> str:
    return f"top-1 {text.percent(result.get(top1))}  top-5 {text.percent(result.get(top5))}  ({how})"
