"""`python -m benchmarks contract --recipe RECIPE=TRAIN,VAL --minutes 2,3.5,6 --disturb 3.5`: is a time budget kept?

For each recipe and budget: measure this machine, plan a run of that many minutes, and train it once as a user would,
with budget.adapt. Budgets in --disturb are disturbed on purpose: for a third of their time other processes compete for
the cores (benchmarks/harness/disturbance.py). A record holds predicted and reached time and accuracy. With --json a
record is added after each run; budgets that the file already has are not trained again. Exit code 0: every run ended
within 5% of its budget, five of six accuracies lie in their predicted interval, and none lies 1.5 points below its
middle. Arguments after `--` are passed to train_imagenet.py.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from benchmarks.harness import arguments as opt
from benchmarks.harness.disturbance import timed_run
from benchmarks.harness.processes.usage import MachineLoad
from benchmarks.harness.trained import data_identity, read_lines
from benchmarks.records.contract_table import findings, is_kept, page, table
from benchmarks.records.layouts import Record
from benchmarks.records.record_files import write
from engine.config.load import load_train_stages
from engine.errors import UserError
from engine.knowledge.families import find_family
from engine.plan.candidates import candidates
from engine.plan.choice import Choice, Request
from engine.plan.pace.measure_apart import measure_apart
from engine.plan.plan_file import write_plan as write_plan_file
from engine.report.contract_words import judged_top1
from engine.report.terminal.summary import measured_as
from engine.runs.folder import CONFIG, LOG
from engine.runs.log_reader import build_history, parse_log, total
from engine.runs.log_schema import ReplanLine, StartLine
from engine.runs.machine import machine

ROOT = Path(__file__).resolve().parents[2]
PLAN = "plan.yaml"
MEASURED_SECONDS = 20.0

DISTURBED_SHARE = 1 / 3
"""Of a run's budget, in which other processes compete for the cores."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """One run to make."""

    recipe: str
    train: Path
    val: Path
    minutes: float
    disturbed: bool

    def __str__(self) -> str:
        words = ", disturbed" if self.disturbed else ""
        return f"{self.recipe}, {self.minutes:g} minutes{words}"

    @property
    def key(self) -> tuple[str, float, bool]:
        """Two runs with the same key are the same budget."""
        return self.recipe, self.minutes, self.disturbed


def main(argv: Sequence[str]) -> int:
    """Plan, train and record each budget; returns 1 where the contract was not kept."""
    options = _parse(argv)
    records = read_lines(options.json)
    if any(record.get("stage") != "contract" for record in records):
        raise UserError(f"--json {options.json} holds other records than this stage's: choose another name")
    for budget in options.budgets:
        if budget.key in {(r["recipe"], r["budget_minutes"], r["disturbed"]) for r in records}:
            print(f"{budget} is in {options.json} already", flush=True)
            continue
        print(f"\n== {budget}", flush=True)
        code = _keep(budget, options, records)
        if code not in (0, 1):
            return code
        if options.json is not None:
            write(options.json, "".join(json.dumps(record) + "\n" for record in records))
            write(options.json.with_suffix(".md"), page(records))
    print("\n".join(["", table(records), "", *findings(records)]))
    return 0 if is_kept(records) else 1


def _keep(budget: Budget, options: argparse.Namespace, records: list[Record]) -> int:
    """Plan and train one budget and add its record; returns the exit code of the training."""
    what = f"{budget.minutes:g}min{'-disturbed' if budget.disturbed else ''}"
    name = f"contract-{Path(budget.recipe).stem}-{what}-{datetime.now():%Y%m%d-%H%M%S}"
    folder = Path(options.folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    plan = folder / f"{name}.{PLAN}"
    seconds, limits = 60 * budget.minutes, MachineLoad(machine()["cores"])
    with limits:
        write_plan(budget, plan, options.override)
        words = [
            *("-C", str(plan), f"--data.train_dataset={budget.train}", f"--data.val_dataset={budget.val}"),
            *(*options.override, f"--logging.folder={folder}", f"--logging.name={name}"),
        ]
        print(f"$ python train_imagenet.py {shlex.join(words)}", flush=True)
        start = options.disturb_from * seconds
        window = (start, start + DISTURBED_SHARE * seconds) if budget.disturbed else None
        run = timed_run([sys.executable, "train_imagenet.py", *words], ROOT, window)
    if run.code in (0, 1):
        outside: Record = {
            "budget_minutes": budget.minutes,
            "disturbed": budget.disturbed,
            "disturbance": run.disturbance,
            "wall_seconds": round(run.seconds, 2),
            "deviation": run.seconds / seconds - 1,
            "exit_code": run.code,
        }
        said: Record = {
            "recipe": budget.recipe,
            "data": f"{data_identity(budget.train)}; {data_identity(budget.val)}",
            # Its base is a path from where the plan lies to this checkout.
            "plan": {**yaml.safe_load(plan.read_text(encoding="utf-8")), "base": budget.recipe},
            "command": f"python train_imagenet.py {shlex.join(['-C', PLAN, *options.override])}",
        }
        records.append({"stage": "contract", **said, **outside, **reached(folder / name), **limits.facts})
    return run.code


def write_plan(budget: Budget, path: Path, override: Sequence[str]) -> None:
    """Measure the machine for about 20 s and write the plan of the run that is expected to fill the budget.

    Raises UserError where the recipe belongs to no family, or the budget is too short for any of its lengths.
    """
    data = str(budget.train), str(budget.val)
    words = [
        "-C",
        budget.recipe,
        f"--data.train_dataset={data[0]}",
        f"--data.val_dataset={data[1]}",
        *override,
    ]
    recipe = load_train_stages(words)[0][0]
    if not recipe.plan.family:
        raise UserError(f"{budget.recipe} sets no plan.family: nothing is known about its accuracy by epochs")
    family, pace = find_family(recipe.plan.family), measure_apart(recipe, MEASURED_SECONDS)
    found, seconds = candidates(family, recipe, pace), 60 * budget.minutes
    fitting = [one for one in found if one.duration.seconds <= seconds]
    if not fitting:
        least = min(one.duration.seconds for one in found)
        raise UserError(f"{budget}: the shortest run of {family.name} takes {least / 60:.1f} minutes here")
    pick, request = max(fitting, key=lambda one: one.epochs), Request(seconds=seconds)
    why = "the longest that is expected to end in time"
    write_plan_file(Choice(request=request, found=found, pick=pick, why=why), path, data=data)


def reached(folder: Path) -> Record:
    """What a finished run's log says: length, accuracy, predictions, re-plans. Raises UserError without a result."""
    lines, _ = parse_log((folder / LOG).read_bytes())
    history = build_history(lines)
    start, result, epochs = history.start, history.result, history.epochs
    if result is None or not epochs:
        raise UserError(f"{folder / LOG} records no finished training: see {folder}")
    replans = history.replans
    predicted, repredicted = _prediction(start), _prediction(replans[-1]) if replans else None
    last = repredicted or predicted
    top1 = judged_top1(result)
    source = start.revision
    changed = " with uncommitted changes" if source and source.dirty else ""
    return {
        "family": start.family,
        "planned_epochs": replans[0].length_before if replans else result.length,
        "epochs_trained": result.length or float(len(epochs)),
        "elapsed_seconds": result.elapsed_seconds,
        "predicted_seconds": [
            start.predicted_seconds,
            start.predicted_seconds_low,
            start.predicted_seconds_high,
        ],
        "predicted": predicted,
        "repredicted": repredicted,
        "top1": top1,
        "inside": bool(last and top1 is not None and last["low"] <= top1 <= last["high"]),
        "measured": measured_as(
            result.val_resolution, result.val_ratio, result.val_crop_law, tta=bool(result.tta)
        ),
        "replans": [line.to_json() for line in replans],
        "images_per_second": total(e.images for e in epochs) / total(e.train_seconds for e in epochs),
        "device": start.device,
        "precision": start.precision,
        "epochs": [epoch.to_json() for epoch in epochs],
        "config": yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")),
        "started": start.time,
        "machine": start.machine.to_json() if start.machine else None,
        "versions": start.versions,
        "revision": f"{source.commit}{changed}" if source else "unknown (not a git checkout)",
    }


def _prediction(line: StartLine | ReplanLine) -> Record | None:
    """Predicted top-1 and its interval; None where the line has none."""
    if line.predicted_top1 is None:
        return None
    return {"top1": line.predicted_top1, "low": line.predicted_top1_low, "high": line.predicted_top1_high}


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked, with the `budgets` to keep. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("contract", __doc__, " --recipe RECIPE=TRAIN,VAL [-- OPTIONS OF train_imagenet.py]")
    add = parser.add_argument
    words = "a recipe and its two .beton files; may be given several times"
    add("--recipe", action="append", required=True, metavar="RECIPE=TRAIN,VAL", help=words)
    numbers = opt.list_of(minutes)
    add("--minutes", type=numbers, default=[2, 3.5, 6], help="budgets of each recipe (default: 2,3.5,6)")
    add("--disturb", type=numbers, default=[], help="which of --minutes are disturbed (default: none)")
    words = "share of the budget after which a disturbance starts (default: 0.3)"
    add("--disturb-from", type=opt.share, default=0.3, metavar="SHARE", help=words)
    parser.add_json()
    add("--folder", default="runs", help="where plans and runs are written (default: runs)")
    add("override", nargs="*", help="options for train_imagenet.py, after a --")
    options = parser.parse_args(argv)
    opt.check_files(None, options.json)
    options.budgets = list(_budgets(options))
    return options


def _budgets(options: argparse.Namespace) -> Iterator[Budget]:
    """Each recipe with each of its budgets."""
    for number in options.disturb:
        if number not in options.minutes:
            listed = ", ".join(f"{one:g}" for one in options.minutes)
            raise UserError(f"--disturb {number:g} is none of --minutes ({listed}): give one of these")
    for text in options.recipe:
        recipe, _, files = text.partition("=")
        train, _, val = files.partition(",")
        for path in map(Path, (recipe, train, val)):
            if not path.is_file():
                raise UserError(f"--recipe {text}: {path} is not a file; write RECIPE=TRAIN,VAL")
        for number in options.minutes:
            yield Budget(
                recipe=recipe,
                train=Path(train).resolve(),
                val=Path(val).resolve(),
                minutes=number,
                disturbed=number in options.disturb,
            )


def minutes(text: str) -> float:
    """A parser of a budget."""
    value = float(text)
    if not 0 < value <= 24 * 60:
        raise ValueError
    return value
