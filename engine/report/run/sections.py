"""The report's text parts below its figures: results, epochs, weights, settings, what it ran on."""

import shlex
from collections.abc import Callable
from statistics import median
from typing import Any

from engine.config.installation import TRAIN
from engine.config.options import options_of
from engine.config.train.train_config import TrainConfig
from engine.report import bottleneck_summary as limiting
from engine.report import published, text
from engine.report.drawing.axes import thinned
from engine.report.drawing.charts import clean
from engine.report.terminal.summary import measurements
from engine.runs.folder import CONFIG, LOG
from engine.runs.log_reader import History, waiting_share
from engine.runs.log_schema import EpochLine, Machine, Revision, StartLine

# More rows than this make a page that nobody reads; the log has them all.
MOST_ROWS = 120

_Column = tuple[str, str, Callable[[EpochLine], str]]

# Heading, unit or second line, and how an epoch's cell is made.
_COLUMNS: tuple[_Column, ...] = (
    ("epoch", "", lambda e: text.count(e.epoch)),
    ("size", "px", lambda e: text.count(e.resolution)),
    ("lr", "at end", lambda e: text.significant(e.lr)),
    ("loss", "train", lambda e: text.number(e.train_loss)),
    ("loss", "valid.", lambda e: text.number(e.val_loss)),
    ("top-1", "", lambda e: text.percent(e.top1)),
    ("top-1", "no TTA", lambda e: text.percent(e.top1_no_tta)),
    ("top-5", "", lambda e: text.percent(e.top5)),
    ("top-5", "no TTA", lambda e: text.percent(e.top5_no_tta)),
    ("top-1", "by class", lambda e: text.percent(e.mean_class_top1)),
    ("images", "per s", lambda e: text.rate(e.images_per_second)),
    ("waiting", "for data", lambda e: text.percent(waiting_share([e]), 1)),
    ("limited", "by", lambda e: str(e.limited_by or text.MISSING)),
    ("training", "s", lambda e: text.number(e.train_seconds, 1)),
    ("valid.", "s", lambda e: text.number(e.val_seconds, 1)),
    ("clock", "at end", lambda e: text.clock(e.elapsed_seconds)),
    ("host", "GiB", lambda e: text.gigabytes(e.host_memory_mb)),
    ("device", "GiB", lambda e: text.gigabytes(e.device_memory_mb)),
)


def card(title: str, body: str) -> str:
    """A section with its heading."""
    return f'<section class="card"><h2>{clean(title)}</h2>{body}</section>'


def results(history: History, config: dict[str, Any]) -> str:
    """Every accuracy beside how it was measured; what others published stands apart."""
    rows = ""
    for name, top1, top5, how in measurements(history.result) if history.result else []:
        title = {"recipe's own": "as the recipe validates", "no TTA": "the same, no TTA"}.get(name, name)
        rows += (
            f'<tr><th scope="row">{clean(title)}</th>'
            f'<td class="figure" data-name="top-1">{text.percent(top1)}</td>'
            f'<td class="figure" data-name="top-5">{text.percent(top5)}</td><td>{clean(how)}</td></tr>'
        )
    table = ""
    if rows:
        images = text.count(history.result.num_val if history.result else None)
        table = (
            '<table class="words results"><thead><tr><th>result</th><th class="figure">top-1</th>'
            f'<th class="figure">top-5</th><th>measured on {images} images</th></tr></thead>'
            f"<tbody>{rows}</tbody></table>{_mean_over_classes(history, config)}"
        )
    theirs = reference(history, config)
    return card("Results" if rows else "To compare with", table + theirs) if table or theirs else ""


def _mean_over_classes(history: History, config: dict[str, Any]) -> str:
    """A line on the mean of the classes' top-1, where their sizes differ so much that it was measured, and on these."""
    result, images = history.result, [count for count in history.start.class_images or () if count]
    if result is None or result.mean_class_top1 is None:
        return ""
    average = text.percent(result.ema_mean_class_top1)
    averaged = "" if result.ema_mean_class_top1 is None else f", of the averaged weights {average}"
    sizes = ""
    if images:
        chosen = [
            config.get(section, {}).get(key)
            for section, key in (("data", "balance"), ("loss", "class_weights"))
        ]
        sizes = (
            f" Training images per class: {text.count(min(images))} to {text.count(max(images))}, median "
            f"{text.count(round(median(images)))}; data.balance={chosen[0]}, loss.class_weights={chosen[1]}."
        )
    return (
        f"<p>Mean of the classes’ top-1: <b>{text.percent(result.mean_class_top1)}</b>{averaged} (balanced accuracy). "
        "The largest class "
        f"has more than 5 times the images of the smallest, so top-1 is mostly that of the large ones.{sizes}</p>"
    )


def reference(history: History, config: dict[str, Any]) -> str:
    """What others published for this recipe, in a box that says so; ours beside their accuracy by epoch."""
    known = config.get("reference", {})
    if not known.get("source"):
        return ""
    if other := published.difference(known, history.start):
        said = f"The figures that {known['source']} published are none to compare with: {other}."
        return f'<div class="theirs"><p>{clean(said)}</p></div>'
    figures = [clean(figure) for figure in published.figures(known)]
    if known.get("top1"):
        figures[0] = f"<b>{figures[0]}</b>"
    said = f"Published by {clean(known['source'])}, not ours: {', '.join(figures) or 'no figures given'}."
    further = [clean(known[key]) for key in ("note", "citation") if known.get(key)]
    if further:
        said += f'<br><span class="soft">{". ".join(further)}.</span>'
    return f'<div class="theirs"><p>{said}</p>{_their_curve(history, known)}</div>'


def _their_curve(history: History, known: dict[str, Any]) -> str:
    """Their accuracy by epoch and ours after as many epochs; nothing where they gave none."""
    points = published.by_epoch(known, history.epochs)
    if not points:
        return ""
    rows = "".join(
        f"<tr><td>{epoch}</td><td>{text.percent(theirs)}</td><td>{text.percent(ours)}</td></tr>"
        for epoch, theirs, ours in points
    )
    return (
        "<details><summary>Top-1 by epoch</summary><table><thead><tr><th>epoch</th><th>theirs</th><th>ours</th></tr>"
        f"</thead><tbody>{rows}</tbody></table></details>"
    )


def limits(epochs: list[EpochLine]) -> str:
    """What limited the run, with the figures of the epoch that speaks for all."""
    found = limiting.limiting(epochs)
    if found is None:
        return ""
    said = limiting.sentence(epochs)
    rows = "".join(
        f'<tr><th scope="row">{clean(name)}</th><td>{clean(value)}</td></tr>'
        for name, value in limiting.rows(*found)
    )
    return card(
        "What limited this run",
        f"<p>{clean(said[:1].upper() + said[1:])}.</p>"
        f"<details><summary>Figures of epoch {found[0].epoch}</summary>"
        f'<table class="words"><tbody>{rows}</tbody></table></details>',
    )


def epoch_table(epochs: list[EpochLine]) -> str:
    """Every epoch in figures; a column that nothing was measured for is left out."""
    if not epochs:
        return ""
    shown = thinned(epochs, MOST_ROWS)
    columns = [(head, unit, [cell(epoch) for epoch in shown]) for head, unit, cell in _COLUMNS]
    columns = [column for column in columns if any(cell != text.MISSING for cell in column[2])]
    heads = "".join(f'<th scope="col">{head}<br>{unit}</th>' for head, unit, _ in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{clean(cells[index])}</td>" for _, _, cells in columns) + "</tr>\n"
        for index in range(len(shown))
    )
    note = "" if shown == epochs else f"{len(shown)} of {len(epochs)} epochs; {LOG} has them all."
    body = (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table of epochs">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    return card("Epochs", body + (f'<p class="note">{note}</p>' if note else ""))


def weights(history: History, config: dict[str, Any]) -> str:
    """Where the weights are, how to load them, how to measure them again."""
    result, start = history.result, history.start
    if not result or not result.weights:
        return ""
    folder = start.folder or "."
    path = f"{folder}/{result.weights}"
    arch, blurpool = config.get("model", {}).get("arch"), config.get("training", {}).get("use_blurpool")
    load = (
        "import torch\nfrom engine.models.build import build_model\n\n"
        f"model = build_model({arch!r}, {start.num_classes!r}, use_blurpool={bool(blurpool)})\n"
        f"model.load_state_dict(torch.load({path!r}, weights_only=True), strict=True)"
    )
    measure = [*TRAIN.split(), "-C", f"{folder}/{CONFIG}", "--training.eval_only=true"]
    measure += [f"--model.weights={path}", f"--logging.name={start.name or 'run'}-eval"]
    return card(
        "Weights",
        f'<p class="soft"><b>{clean(path)}</b> {clean(result.weights_note or "")}</p>'
        f"{_code(load)}"
        f'<p class="soft more">To measure them again:</p>{_code(_shell(measure))}',
    )


def settings(config: dict[str, Any]) -> str:
    """Every option of the run; those that differ from their default stand out and say what that is."""
    changed, every, count = "", "", 0
    for section, options in config.items():
        defaults = _defaults(section)
        different = {key: value for key, value in options.items() if value != defaults.get(key)}
        count += len(different)
        every += _setting_list(section, options, marked=set(different), defaults={})
        changed += _setting_list(section, different, marked=set(), defaults=defaults) if different else ""
    return card(
        "Settings",
        f'<p class="soft">{count} of the options differ from their defaults.</p>'
        f'<div class="settings">{changed}</div>'
        f'<details><summary>All options</summary><div class="settings">{every}</div></details>',
    )


def _setting_list(section: str, options: dict[str, Any], marked: set[str], defaults: dict[str, Any]) -> str:
    rows = ""
    for key, value in options.items():
        css = ' class="changed"' if key in marked else ""
        before = f"<span>default {clean(text.setting(defaults[key]))}</span>" if key in defaults else ""
        rows += f"<dt{css}>{clean(key)}</dt><dd{css}>{clean(text.setting(value))}{before}</dd>"
    return f"<section><h3>{clean(section)}</h3><dl>{rows}</dl></section>"


def _defaults(section: str) -> dict[str, Any]:
    known = TrainConfig.__dataclass_fields__.get(section)
    if known is None:
        return {}
    specs = options_of(known.default_factory)  # type: ignore[arg-type]
    return {key: spec.default for key, spec in specs.items()}


def _shell(words: list[str]) -> str:
    """A command as a shell reads it, a long one with each option on its own line."""
    whole = shlex.join(words)
    if len(whole) <= 80:
        return whole
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("-") and len(lines[-1]) > 0:
            lines.append([])
        lines[-1].append(word)
    return " \\\n  ".join(shlex.join(line) for line in lines)


def _code(content: str) -> str:
    return f'<pre tabindex="0">{clean(content)}</pre>'


def provenance(history: History) -> str:
    """Command, source revision, versions, machine: what it takes to judge or repeat the run."""
    start = history.start
    if not history.begun:
        return ""
    machine, versions = start.machine or Machine(), start.versions or {}
    gpus = machine.gpus or []
    named = ", ".join(f"{gpus.count(gpu)} × {gpu}" for gpu in dict.fromkeys(gpus)) or "none"
    memory = f"{machine.memory_gb} GB" if machine.memory_gb else text.MISSING
    rows = [
        ("started", text.moment(start.time)),
        ("resumed", ", ".join(f"after epoch {number}" for number in history.resumed_at)),
        ("source revision", _revision(start.revision)),
        ("processor", f"{machine.cpu or '?'}, {machine.cores or '?'} cores, {memory}"),
        ("GPUs", named),
        ("trained on", _processes(start)),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
    ]
    cells = "".join(
        f'<tr><th scope="row">{clean(name)}</th><td>{clean(value)}</td></tr>' for name, value in rows if value
    )
    command = _shell(["python", *(start.command or [])])
    body = f'<table class="words"><tbody>{cells}</tbody></table>{_code(command)}'
    return card("Command and machine", body)


def _revision(revision: Revision | None) -> str:
    if not revision:
        return "unknown (not run from a git checkout)"
    changes = ", with uncommitted changes" if revision.dirty else ""
    return f"{str(revision.commit)[:12]}{changes}"


def _processes(start: StartLine) -> str:
    words = f"{start.world_size or '?'} × {start.device or '?'}, {start.precision or '?'}"
    if start.global_batch:
        words += f", global batch {start.global_batch} (per device {start.device_batch or '?'}"
        words += f", {start.accumulation or '?'} accumulated)"
    return words
