"""`python -m benchmarks family -C RECIPE --folder RUNS --epochs 2,3,4 --seeds 0,1`: a recipe's accuracy by its length.

Trains what is missing in the folder with train_imagenet.py, one run after the other, and writes the record that
predictions stand on, engine/knowledge/measured/FAMILY.json (FAMILY: plan.family of the recipe). Without --epochs
nothing is trained: the finished runs of this recipe in the folder, whatever their names, are recorded. Runs that the
record has from elsewhere stay in it. Arguments after `--` are passed to train_imagenet.py.

The length is set as a plan sets it, by training.timeline=0:LENGTH: it need not be whole, and the resolution changes at
eighths of an epoch. Runs with and without a timeline are not mixed.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import arguments as opt
from benchmarks.harness.trained import data_identity
from benchmarks.records.record_files import write
from benchmarks.stages.accuracy import ROOT
from engine.config.load import load_train_stages, to_dict
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError, describe_os_error
from engine.knowledge.family_files import MEASURED
from engine.knowledge.measured_record import MeasuredFamily, MeasuredRun
from engine.report.terminal.summary import measured_as
from engine.runs.folder import CONFIG, LOG
from engine.runs.log_reader import History, build_history, read_config, read_log
from engine.train.budget.timeline import Timeline

_PLACES = {
    *("data.train_dataset", "data.val_dataset", "data.classes"),
    *("data.cache_folder", "data.cache_gb", "data.storage_options"),
    *("training.resume", "training.seed", "training.epochs"),
}
_NOT_TRAINING = ("logging.", "checkpoint.", "budget.", "plan.", "reference.")
"""Sections that do not change what is trained. The length and the seed are what a family varies."""


def main(argv: Sequence[str]) -> int:
    """Train what is missing, write the record and print it; returns the exit code of a run that failed, else 0."""
    options = _parse(argv)
    config = _recipe(options)
    known = _known(options)
    for epochs in options.epochs:
        for seed in options.seeds:
            done = {(run.epochs, run.seed) for run in _finished_runs(options, config)}
            if (epochs, seed) in done:
                print(f"{epochs:g} epochs, seed {seed}: done already", flush=True)
            elif (code := _train(options, config, epochs, seed)) not in (0, 1):
                return code
    record = _record(options, config, known)
    write(options.json, json.dumps(record.to_json(), indent=1) + "\n")
    print(_table(record))
    return 0


def run_of(folder: Path, config: TrainConfig) -> MeasuredRun | None:
    """The finished run in a folder; None where it is not finished or changed its length on the way.

    `config`: of the recipe, from which the run's differences are listed. Raises UserError for unreadable files.
    """
    history = build_history(read_log(folder / LOG)[0])
    start, result = history.start, history.result
    if result is None or not history.epochs or result.replans or result.stages:
        return None
    own = read_config(folder / CONFIG)
    key = "ema_top1" if result.ema_top1 is not None else "top1"
    length = _length(own)
    if length is None:
        return None
    source = start.revision
    changed = " with uncommitted changes" if source and source.dirty else ""
    return MeasuredRun(
        epochs=length,
        seed=own["training"]["seed"],
        top1=getattr(result, key),
        minutes=round((result.elapsed_seconds or 0.0) / 60, 3),
        last_resolution=history.epochs[-1].resolution,
        by_epoch=[[min(epoch.epoch, length), getattr(epoch, key)] for epoch in history.validated],
        started=start.time,
        differs=_differences(own, config),
        machine=start.machine.to_json() if start.machine else {},
        versions=start.versions or {},
        precision=start.precision,
        revision=f"{source.commit}{changed}" if source else "unknown (not a git checkout)",
    )


def _length(own: dict[str, Any]) -> float | None:
    """The epochs of a run that kept its length; None for one that changed it on the way."""
    epochs = own["training"]["epochs"]
    timeline = Timeline.parse(own["training"].get("timeline", ""), epochs)
    if not timeline.changes:
        return float(epochs)
    return timeline.length if len(timeline.changes) == 1 and timeline.changes[0].at == 0 else None


def _differences(own: dict[str, Any], config: TrainConfig) -> dict[str, Any]:
    """Options of a run that differ from the recipe's, by name; the run's values."""
    recipe = _flat(to_dict(config))
    found = {
        name: value
        for name, value in _flat(own).items()
        if name in recipe
        and value != recipe[name]
        and name not in _PLACES
        and not name.startswith(_NOT_TRAINING)
    }
    if "training.timeline" in found:
        # Its length is the family's; that there is one makes a difference.
        found["training.timeline"] = "0:LENGTH"
    if own["lr"].get("lr_peak_share"):
        # It has no effect beside a share.
        found.pop("lr.lr_peak_epoch", None)
    return found


def _flat(config: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        f"{section}.{key}": value for section, options in config.items() for key, value in options.items()
    }


def _finished_runs(options: argparse.Namespace, config: TrainConfig) -> Iterator[MeasuredRun]:
    for folder in _folders(options):
        run = run_of(folder, config)
        if run is not None:
            yield run


def _folders(options: argparse.Namespace) -> Iterator[Path]:
    """The runs of this recipe in the folder, finished or not."""
    recipe = Path(options.config_file[-1]).stem
    for log in sorted(options.folder.glob(f"*/{LOG}")):
        if (log.parent / CONFIG).exists() and build_history(read_log(log)[0]).start.recipe == recipe:
            yield log.parent


def _record(options: argparse.Namespace, config: TrainConfig, known: MeasuredFamily | None) -> MeasuredFamily:
    """The record of the runs in the folder and of those known before. Raises UserError where there is none."""
    folders = [folder for folder in _folders(options) if run_of(folder, config)]
    runs = {(run.epochs, run.seed): run for run in known.runs} if known else {}
    runs |= {(run.epochs, run.seed): run for run in _finished_runs(options, config)}
    if not runs:
        raise UserError(
            f"--folder {options.folder} holds no finished run of {options.config_file[-1]}: give --epochs to train some"
        )
    _refuse_mixture(list(runs.values()))
    title, data = options.title or (known and known.title), options.data_name or (known and known.data)
    if not title or not data:
        raise UserError("a new family needs a title and the data set's name: give --title and --data-name")
    history = build_history(read_log(folders[0] / LOG)[0]) if folders else History()
    return MeasuredFamily(
        name=config.plan.family,
        title=title,
        network=config.model.arch,
        data=data,
        recipe=_relative(options.config_file[-1]),
        num_train=history.start.num_train or (known.num_train if known else 0),
        num_val=history.start.num_val or (known.num_val if known else 0),
        metric="ema_top1" if config.training.ema_half_life else "top1",
        measured_as=_measured_as(history) or (known.measured_as if known else ""),
        files=_files(folders) or (known.files if known else []),
        runs=[runs[key] for key in sorted(runs)],
    )


def _refuse_mixture(runs: list[MeasuredRun]) -> None:
    """Raise UserError for runs that differ in more than length and seed."""
    for run in runs[1:]:
        if run.differs != runs[0].differs:
            names = sorted(
                name
                for name in {*run.differs, *runs[0].differs}
                if run.differs.get(name) != runs[0].differs.get(name)
            )
            raise UserError(
                f"the runs of {runs[0].epochs:g} epochs, seed {runs[0].seed}, and of {run.epochs:g}, seed {run.seed}, "
                f"differ in {', '.join(names)}: a family's runs differ in length and seed alone; use another folder"
            )


def _measured_as(history: History) -> str:
    result = history.result
    return (
        measured_as(result.val_resolution, result.val_ratio, result.val_crop_law, tta=bool(result.tta))
        if result
        else ""
    )


def _files(folders: Sequence[Path]) -> list[str]:
    """The data files of the first run, in words; nothing where they are gone."""
    for folder in folders[:1]:
        data = read_config(folder / CONFIG)["data"]
        paths = [Path(data[f"{split}_dataset"]) for split in ("train", "val")]
        return [data_identity(path) for path in paths if path.exists()]
    return []


def _relative(recipe: str) -> str:
    path = Path(recipe).resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def _train(options: argparse.Namespace, config: TrainConfig, epochs: float, seed: int) -> int:
    """Run or resume train_imagenet.py; returns its exit code."""
    ours = {
        "training.epochs": math.ceil(epochs),
        "training.timeline": f"0:{epochs:g}",
        "training.seed": seed,
        "training.resume": "auto",
        # A new family is not known yet, and a known one should not warn of its own runs.
        "plan.family": "",
        "logging.folder": options.folder,
        "logging.name": f"{config.plan.family}-{epochs:g}-{seed}",
    }
    words = [*_words(options), *(f"--{key}={value}" for key, value in ours.items())]
    print(f"$ python train_imagenet.py {' '.join(words)}", flush=True)
    return subprocess.run([sys.executable, str(ROOT / "train_imagenet.py"), *words], check=False).returncode


def _words(options: argparse.Namespace) -> list[str]:
    return [*(word for file in options.config_file for word in ("-C", file)), *options.override]


def _recipe(options: argparse.Namespace) -> TrainConfig:
    """The recipe as it stands on the shelf. Raises UserError for one of several stages, or of no family."""
    recipes = [word for file in options.config_file for word in ("-C", file)]
    stages, _ = load_train_stages([*recipes, "--data.train_dataset=t.beton", "--data.val_dataset=v.beton"])
    if len(stages) > 1:
        raise UserError(
            f"-C {options.config_file[-1]} has {len(stages)} stages: only recipes of one are measured"
        )
    family = stages[0].plan.family
    if not family:
        raise UserError(f"-C {options.config_file[-1]} names no family: set plan.family in it")
    options.json = options.json or MEASURED / f"{family}.json"
    opt.check_outputs([options.json])
    return stages[0]


def _known(options: argparse.Namespace) -> MeasuredFamily | None:
    """The record that is there already."""
    try:
        return MeasuredFamily.from_json(json.loads(options.json.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise describe_os_error(error, options.json, "read the record") from None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"--json {options.json} holds no family's record: choose another name") from None


def _table(record: MeasuredFamily) -> str:
    """The accuracies, a line for each length, and the law through them."""
    family = record.family()
    lines = [f"{record.name}: {len(record.runs)} runs, {record.metric}, error% = {family.law.words}"]
    for epochs in sorted({run.epochs for run in record.runs}):
        each = [f"{run.top1:.2%} (seed {run.seed})" for run in record.runs if run.epochs == epochs]
        fitted = any(point.epochs == epochs for point in family.points)
        end = (
            f"fitted {family.predict(epochs).top1:.2%}"
            if fitted
            else "not fitted: it ends before its last phase"
        )
        lines.append(f"{epochs:>4g} epochs: {', '.join(each)}; {end}")
    return "\n".join(lines)


def _epochs(text: str) -> float:
    """A length in epochs. Raises ValueError for what is none."""
    value = float(text)
    if not 0.1 <= value <= 10_000:
        raise ValueError
    return value


_epochs.__name__ = "number of epochs from 0.1 to 10000"


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("family", __doc__, " -C RECIPE --folder RUNS [-- OPTIONS OF train_imagenet.py]")
    add = parser.add_argument
    add("-C", "--config-file", action="append", required=True, metavar="FILE", help="recipe, as for training")
    add("--folder", type=Path, required=True, help="folder of the runs, found or made there")
    lengths, seeds = opt.list_of(_epochs), opt.list_of(opt.whole(0, 2**31 - 1))
    add(
        "--epochs",
        type=lengths,
        default=[],
        help="lengths to train, such as 2.5,4 (default: none, record only)",
    )
    add("--seeds", type=seeds, default=[0, 1], help="separated by commas (default: 0,1)")
    add("--title", default="", help="the family in words (default: the record's)")
    add("--data-name", default="", help="the data set's name, such as CIFAR-10 (default: the record's)")
    add(
        "--json",
        type=Path,
        metavar="FILE",
        help="the record (default: engine/knowledge/measured/FAMILY.json)",
    )
    add("override", nargs="*", help="options for train_imagenet.py, after a --")
    return parser.parse_args(argv)
