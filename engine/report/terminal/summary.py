"""What the terminal says of a run: one line per epoch, and the closing summary."""

from typing import Any

from engine.report import bottleneck_summary, published, text
from engine.report.evaluation_words import terminal_rows
from engine.runs.log_reader import History, Line, build_history, mean_throughput, waiting_share


def epoch_line(entry: Line) -> str:
    """One epoch in one line; what was not measured is left out."""
    width = len(str(entry.get("epochs", "")))
    parts = [
        *stage_words(entry),
        f"epoch {entry.get('epoch') or '?':>{width}}/{entry.get('epochs') or '?'}",
        f"{entry.get('resolution') or '?'} px",
        f"lr {text.significant(entry.get('lr'))}",
        f"loss {text.number(entry.get('train_loss'))}",
    ]
    top1, bare = entry.get("top1"), entry.get("top1_no_tta")
    if top1 is not None:
        without = f" (no TTA {text.percent(bare)})" if bare not in (None, top1) else ""
        parts += [f"val {text.number(entry.get('val_loss'))}", f"top-1 {text.percent(top1)}{without}"]
    if entry.get("ema_top1") is not None:
        parts.append(f"EMA {text.percent(entry['ema_top1'])}")
    parts.append(f"{text.rate(entry.get('images_per_second'))} img/s")
    parts.append(f"waiting {text.percent(waiting_share([entry]), 0)}")
    if entry.get("limited_by"):
        parts.append(f"limited by {entry['limited_by']}")
    parts.append(text.duration(entry.get("elapsed_seconds")))
    return "  ".join(parts)


def stage_words(line: Line) -> list[str]:
    """Which stage of how many a log line is of; nothing where there is but one."""
    return [f"stage {line['stage']} of {line['stages']}"] if line.get("stages") else []


def closing_summary(config: dict[str, Any], lines: list[Line]) -> str:
    """What came out of the run, in a few aligned lines; the verdict first."""
    history = build_history(lines)
    rows = _result_rows(history.result) if history.result else [("verdict", "no result yet")]
    rows += _pace_rows(history)
    reference = config.get("reference", {})
    if reference.get("source") and reference.get("top1"):
        accuracy, *more = published.figures(reference)
        said = f"{accuracy.removesuffix(' top-1')}, published by {reference['source']}, not ours"
        rows.append(("reference", f"{said} ({', '.join(more)})" if more else said))
    if history.result and history.result.get("weights_note"):
        rows.append(("weights", str(history.result["weights_note"])))
    return "\n".join(f"{name:<10} {value}" for name, value in rows)


def measurements(result: Line) -> list[tuple[str, Any, Any, str]]:
    """Each accuracy of a result: its name, top-1, top-5, and how it was measured."""
    tta = bool(result.get("tta"))
    own = [("recipe's own", result.get("top1"), result.get("top5"), measured_as(result, "val", tta=tta))]
    if tta:
        how = measured_as(result, "val", tta=False)
        own.append(("no TTA", result.get("top1_no_tta"), result.get("top5_no_tta"), how))
    how = measured_as(result, "plain", tta=False)
    plain = ("plain", result.get("plain_top1"), result.get("plain_top5"), how)
    return [*own, *_further(result), plain]


def _further(result: Line) -> list[tuple[str, Any, Any, str]]:
    """An evaluation's at other resolutions than its own."""
    found = [
        {f"val_{key}": value for key, value in entry.items()}
        for entry in (result.get("evaluation") or {}).get("resolutions", ())
        if entry["resolution"] != result.get("val_resolution")
    ]
    return [
        (
            f"{entry['val_resolution']} px",
            entry["val_top1"],
            entry["val_top5"],
            measured_as(entry, "val", tta=bool(entry["val_tta"])),
        )
        for entry in found
    ]


def measured_as(result: Line, which: str, *, tta: bool) -> str:
    """How an accuracy was measured, which belongs to every accuracy: resolution, crop ratio, TTA."""
    resolution, ratio = result.get(f"{which}_resolution") or "?", result.get(f"{which}_ratio")
    return f"{resolution} px, crop ratio {text.significant(ratio)}, {'with flip TTA' if tta else 'no TTA'}"


def _result_rows(result: Line) -> list[tuple[str, str]]:
    rows = [("stage", words.removeprefix("stage ")) for words in stage_words(result)]
    rows += [("verdict", str(result.get("verdict") or "none given"))]
    for name, top1, top5, how in measurements(result):
        title = "accuracy" if name == "recipe's own" else name
        rows.append((title, f"top-1 {text.percent(top1)}, top-5 {text.percent(top5)} ({how})"))
    return [*rows, *terminal_rows(result)]


def _pace_rows(history: History) -> list[tuple[str, str]]:
    if not history.epochs:
        return []
    clock = history.result or history.epochs[-1]
    earlier = ", earlier stages included" if clock.get("earlier_seconds") else ""
    waiting = f"{text.percent(waiting_share(history.epochs), 1)} of the training time spent waiting for data"
    return [
        ("time", f"{text.duration(clock.get('elapsed_seconds'))} of training and validation{earlier}"),
        ("throughput", f"{text.rate(mean_throughput(history.epochs))} img/s, {waiting}"),
        *([("limited by", limit)] if (limit := bottleneck_summary.sentence(history.epochs)) else []),
    ]
