"""A run in words on the terminal: one line per epoch, and the closing summary."""

from collections.abc import Sequence
from typing import Any

from engine.report import bottleneck_summary, contract_words, published, text
from engine.report.evaluation_words import terminal_rows
from engine.runs.log_reader import History, build_history, mean_throughput, waiting_share
from engine.runs.log_schema import EpochLine, LogLine, ResultLine, StartLine


def epoch_line(entry: EpochLine) -> str:
    """One epoch in one line; what was not measured is left out."""
    width = len(str(entry.epochs or ""))
    parts = [
        *stage_words(entry),
        f"epoch {entry.epoch:>{width}}/{whole_length(entry)}",
        f"{entry.resolution or '?'} px",
        f"lr {text.significant(entry.lr)}",
        f"loss {text.number(entry.train_loss)}",
    ]
    top1, bare = entry.top1, entry.top1_no_tta
    if top1 is not None:
        without = f" (no TTA {text.percent(bare)})" if bare not in (None, top1) else ""
        parts += [f"val {text.number(entry.val_loss)}", f"top-1 {text.percent(top1)}{without}"]
    if entry.ema_top1 is not None:
        parts.append(f"EMA {text.percent(entry.ema_top1)}")
    parts.append(f"{text.rate(entry.images_per_second)} img/s")
    parts.append(f"waiting {text.percent(waiting_share([entry]), 0)}")
    if entry.limited_by:
        parts.append(f"limited by {entry.limited_by}")
    parts.append(text.duration(entry.elapsed_seconds))
    return "  ".join(parts)


def whole_length(entry: EpochLine) -> str:
    """How many epochs the run has in all, as planned when this epoch ended."""
    return contract_words.length(entry.length) if entry.length is not None else str(entry.epochs or "?")


def stage_words(line: StartLine | EpochLine | ResultLine) -> list[str]:
    """Which stage of how many a log line belongs to; nothing where there is only one."""
    return [f"stage {line.stage} of {line.stages}"] if line.stages else []


def closing_summary(config: dict[str, Any], lines: Sequence[LogLine]) -> str:
    """What came out of the run, in a few aligned lines; the verdict first."""
    history = build_history(lines)
    rows = _result_rows(history.result) if history.result else [("verdict", "no result yet")]
    rows += contract_words.contract_rows(history, config.get("budget", {}).get("price"))
    rows += _pace_rows(history)
    reference = config.get("reference", {})
    if reference.get("source") and reference.get("top1"):
        accuracy, *more = published.figures(reference)
        said = f"{accuracy.removesuffix(' top-1')}, published by {reference['source']}, not ours"
        said = f"{said} ({', '.join(more)})" if more else said
        if other := published.difference(reference, history.start):
            said = f"none to compare with; {reference['source']}'s figures: {other}"
        rows.append(("reference", said))
    if history.result and history.result.weights_note:
        rows.append(("weights", history.result.weights_note))
    return "\n".join(f"{name:<10} {value}" for name, value in rows)


def measurements(result: ResultLine) -> list[tuple[str, float | None, float | None, str]]:
    """Each accuracy of a result: its name, top-1, top-5, and how it was measured."""
    tta = bool(result.tta)
    how = measured_as(result.val_resolution, result.val_ratio, result.val_crop_law, tta=tta)
    own = [("recipe's own", result.top1, result.top5, how)]
    if tta:
        how = measured_as(result.val_resolution, result.val_ratio, result.val_crop_law, tta=False)
        own.append(("no TTA", result.top1_no_tta, result.top5_no_tta, how))
    how = plain_measured_as(result)
    return [*own, *_further(result), ("plain", result.plain_top1, result.plain_top5, how)]


def _further(result: ResultLine) -> list[tuple[str, float | None, float | None, str]]:
    """An evaluation's accuracies at other resolutions than the recipe's."""
    measured = result.evaluation.resolutions if result.evaluation else []
    return [
        (
            f"{one.resolution} px",
            one.top1,
            one.top5,
            measured_as(one.resolution, one.ratio, one.crop_law, tta=bool(one.tta)),
        )
        for one in measured
        if one.resolution != result.val_resolution
    ]


def measured_as(resolution: int | None, ratio: float | None, crop_law: str | None, *, tta: bool) -> str:
    """How an accuracy was measured, which belongs to every accuracy: resolution, crop ratio and law, TTA."""
    how = "with flip TTA" if tta else "no TTA"
    law = {"torchvision": " (torchvision's crop)", "fused": " (fused crop)"}.get(crop_law or "", "")
    return f"{resolution or '?'} px, crop ratio {text.significant(ratio)}{law}, {how}"


def plain_measured_as(result: ResultLine) -> str:
    """How the plain accuracy was measured."""
    return measured_as(result.plain_resolution, result.plain_ratio, result.plain_crop_law, tta=False)


def _result_rows(result: ResultLine) -> list[tuple[str, str]]:
    rows = [("stage", words.removeprefix("stage ")) for words in stage_words(result)]
    rows += [("verdict", result.verdict or "none given")]
    for name, top1, top5, how in measurements(result):
        title = "accuracy" if name == "recipe's own" else name
        rows.append((title, f"top-1 {text.percent(top1)}, top-5 {text.percent(top5)} ({how})"))
    return [*rows, *terminal_rows(result)]


def clock_words(history: History) -> str:
    """What the run's clock counts. That of logs from before set-up was measured begins with the first step."""
    setup = history.start.setup_seconds
    if setup is None:
        return "training and validation"
    return f"set-up ({text.duration(setup)}), training, validation and saving"


def _pace_rows(history: History) -> list[tuple[str, str]]:
    if not history.epochs:
        return []
    clock = history.result or history.epochs[-1]
    earlier = ", earlier stages included" if clock.earlier_seconds else ""
    waiting = f"{text.percent(waiting_share(history.epochs), 1)} of the training time spent waiting for data"
    return [
        ("time", f"{text.duration(clock.elapsed_seconds)} of {clock_words(history)}{earlier}"),
        ("throughput", f"{text.rate(mean_throughput(history.epochs))} img/s, {waiting}"),
        *([("limited by", limit)] if (limit := bottleneck_summary.sentence(history.epochs)) else []),
    ]
