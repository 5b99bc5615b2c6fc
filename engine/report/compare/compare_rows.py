"""Compared runs as rows of a table: the figures of each, and the options in which they differ.

Compared runs on the terminal: a column for each run, as many side by side as fit.
"""

from collections.abc import Sequence
from typing import Any

from engine.config.options import options_of
from engine.config.train.train_config import TrainConfig
from engine.report import text
from engine.report.compare.compared_run import ComparedRun
from engine.runs.log_reader import total, waiting_share
from engine.runs.log_schema import Machine

Row = tuple[str, list[str]]
"""What it is, and its cell for each run."""

# They belong to the run, not to its recipe.
_NOT_COMPARED = {"training.resume", "training.first_stage"}
_SECTION_NOT_COMPARED = "logging"


def measure_rows(runs: Sequence[ComparedRun]) -> list[Row]:
    """How far each run is, its accuracies, its time and pace; a row that no run has anything for is left out."""
    rows = [
        ("state", [run.state() for run in runs]),
        ("top-1", [_final(run, average=False) for run in runs]),
        ("best top-1", [_best(run) for run in runs]),
        ("EMA top-1", [_final(run, average=True) for run in runs]),
        ("plain top-1", [text.percent(run.result and run.result.plain_top1) for run in runs]),
        ("target", [_target(run) for run in runs]),
        ("time", [text.duration(run.seconds if run.epochs else None) for run in runs]),
        ("epochs", [text.count(len(run.epochs) or None) for run in runs]),
        ("images", [text.count(total(epoch.images for epoch in run.epochs) or None) for run in runs]),
        ("images/s", [text.rate(run.throughput) for run in runs]),
        ("waited", [_waited(run) for run in runs]),
        ("network", [run.stages[-1][1].start.arch or text.MISSING for run in runs]),
        ("trained on", [_machine(run) for run in runs]),
        ("revision", [_revision(run) for run in runs]),
    ]
    return [(name, cells) for name, cells in rows if any(cell != text.MISSING for cell in cells)]


def option_rows(runs: Sequence[ComparedRun]) -> list[Row]:
    """The recipe's options whose values differ between the runs, stage by stage.

    An option that a run's settings do not name (it is younger than the run) has its default. Of a stage that not all
    runs have, the options that it changes are shown as well.
    """
    several = any(len(run.stages) > 1 for run in runs)
    rows: list[Row] = []
    for index in range(max(len(run.stages) for run in runs)):
        having = [run for run in runs if len(run.stages) > index]
        settings = [_settings(run, index) for run in having]
        before = [_settings(run, index - 1) for run in having] if index else settings
        for key in dict.fromkeys(key for setting in settings for key in setting):
            values = [setting.get(key) for setting in settings]
            changed = len(having) < len(runs) and any(
                value != earlier.get(key) for value, earlier in zip(values, before, strict=True)
            )
            if changed or any(value != values[0] for value in values):
                cells = {id(run): text.setting(value) for run, value in zip(having, values, strict=True)}
                name = f"stage {index + 1}: {key}" if several else key
                rows.append((name, [cells.get(id(run), text.MISSING) for run in runs]))
    return rows


def _settings(run: ComparedRun, stage: int) -> dict[str, Any]:
    """The stage's options by dotted name, in the schema's order; none that says nothing of the recipe."""
    config, skipped = run.stages[stage][0], set(_NOT_COMPARED)
    if stage:
        # The file that the stage before left.
        skipped.add("model.weights")
    found = {}
    for section, field in TrainConfig.__dataclass_fields__.items():
        if section == _SECTION_NOT_COMPARED:
            continue
        for key, spec in options_of(field.default_factory).items():  # type: ignore[arg-type]
            if f"{section}.{key}" not in skipped:
                found[f"{section}.{key}"] = config.get(section, {}).get(key, spec.default)
    return found


def _final(run: ComparedRun, *, average: bool) -> str:
    """The result's top-1, before it the last validation's; of the averaged weights if `average`."""
    last = run.result or (run.measured[-1] if run.measured else None)
    return text.percent(last and (last.ema_top1 if average else last.top1))


def _best(run: ComparedRun) -> str:
    if run.best is None:
        return text.MISSING
    of = ", EMA" if run.has_average else ""
    return f"{text.percent(run.best.judged)} (epoch {run.best.epoch}{of})"


def _target(run: ComparedRun) -> str:
    target, reached = run.target_seconds
    if not target:
        return text.MISSING
    when = "not reached" if reached is None else f"after {text.duration(reached)}"
    return f"{text.percent(target)} {when}"


def _waited(run: ComparedRun) -> str:
    return text.percent(waiting_share(run.epochs), 1)


def _machine(run: ComparedRun) -> str:
    start = run.stages[-1][1].start
    machine = start.machine or Machine()
    if start.device != "cpu" and machine.gpus:
        return f"{start.world_size or 1} × {machine.gpus[0]}"
    return f"{machine.cores or '?'} cores of {machine.cpu or '?'}"


def _revision(run: ComparedRun) -> str:
    revision = run.stages[-1][1].start.revision
    if not revision or not revision.commit:
        return text.MISSING
    return f"{revision.commit[:10]}{' + changes' if revision.dirty else ''}"


_LONGEST = 40
"""Characters of a cell; of a longer one (a path) its end is shown."""
_GAP = "  "


def tables(names: Sequence[str], groups: Sequence[tuple[str, Sequence[Row]]], width: int) -> str:
    """Each group's heading and rows below the runs' names, in at most `width` columns of characters where possible."""
    names = [_short(name) for name in names]
    cells = [
        (title, [(_short(label), [_short(cell) for cell in cells]) for label, cells in rows])
        for title, rows in groups
    ]
    first = max(len(label) for label in [*(label for _, rows in cells for label, _ in rows), ""])
    widths = [
        max([len(name), *(len(row[index]) for _, rows in cells for _, row in rows)])
        for index, name in enumerate(names)
    ]
    blocks = []
    for part in _parts(widths, width - first):
        lines = [_line("", [names[index] for index in part], first, [widths[index] for index in part])]
        for title, rows in cells:
            lines += ["", title] if title else []
            for label, row in rows:
                shown = [row[index] for index in part]
                lines.append(_line(label, shown, first, [widths[index] for index in part]))
        blocks.append("\n".join(lines))
    return "\n\n\n".join(blocks)


def _parts(widths: Sequence[int], room: int) -> list[list[int]]:
    """Which runs stand side by side: at least one, and no more than there is room for."""
    parts: list[list[int]] = [[]]
    left = room
    for index, width in enumerate(widths):
        if parts[-1] and len(_GAP) + width > left:
            parts.append([])
            left = room
        parts[-1].append(index)
        left -= len(_GAP) + width
    return parts


def _line(label: str, cells: Sequence[str], first: int, widths: Sequence[int]) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)]
    return _GAP.join([f"{label:<{first}}", *padded]).rstrip()


def _short(cell: str) -> str:
    return cell if len(cell) <= _LONGEST else f"…{cell[1 - _LONGEST :]}"
