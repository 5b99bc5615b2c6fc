"""`python -m benchmarks accuracy -C RECIPE --seeds 0,1,2`: a recipe's accuracy, and its spread over seeds.

Each seed is a whole run of train_imagenet.py, one after the other, validated only at its end. With --json a record is
added for each seed; seeds that the file already has are not trained again, so a measurement can be made in parts.
Arguments after `--` are passed to train_imagenet.py.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import arguments as opt
from benchmarks.harness.trained import data_identity, read_lines, top1_of
from benchmarks.records.accuracy_table import page, table
from benchmarks.records.layouts import Record
from benchmarks.records.record_files import write
from engine.config.load import load_train_stages, to_dict
from engine.errors import UserError
from engine.report.terminal.summary import measured_as
from engine.runs.folder import CONFIG, LOG
from engine.runs.log_reader import build_history, parse_log, total

ROOT = Path(__file__).resolve().parents[2]

# Options that name places, not the recipe.
_PLACES = {
    *("training.seed", "logging.folder", "logging.name"),
    *("data.train_dataset", "data.val_dataset", "data.classes"),
    *("data.cache_folder", "data.cache_gb", "data.storage_options"),
}


def main(argv: Sequence[str]) -> int:
    """Train, save and print the records; returns 1 where a run failed or missed its target."""
    options = _parse(argv)
    records, code = read_lines(options.json), 0
    _refuse_another(options, records)
    for seed in options.seeds:
        if seed in {record["seed"] for record in records}:
            print(f"seed {seed} is in {options.json} already", flush=True)
            continue
        folder, done = _train(options, seed)
        if done not in (0, 1):
            return done
        code = max(code, done)
        records.append(record_of(folder, " ".join(options.config_file)))
        _save(options.json, records)
    print(f"\n{table(sorted(records, key=lambda record: record['seed']))}")
    return code


def record_of(folder: Path, recipe: str) -> Record:
    """The record of a finished run, from its folder. Raises UserError where it has no result."""
    lines, _ = parse_log((folder / LOG).read_bytes())
    history = build_history(lines)
    start, result, epochs = history.start, history.result, history.epochs
    if result is None or not epochs:
        raise UserError(f"{folder / LOG} records no finished training: see {folder}")
    config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    averaged = result.ema_top1 is not None
    train_seconds = total(epoch.train_seconds for epoch in epochs)
    source = start.revision
    changed = " with uncommitted changes" if source and source.dirty else ""
    return {
        "stage": "accuracy",
        "recipe": recipe,
        "seed": config["training"]["seed"],
        "metric": "top1",
        **top1_of(result, "", averaged=averaged),
        **(top1_of(result, "last_") if averaged else {"last_top1_tta": None, "last_top1_no_tta": None}),
        "measured": measured_as(
            result.val_resolution, result.val_ratio, result.val_crop_law, tta=bool(result.tta)
        ),
        "train_minutes": train_seconds / 60,
        "minutes": (result.elapsed_seconds or 0.0) / 60,
        "compile_seconds": total(epoch.compile_seconds for epoch in epochs) or None,
        "images_per_second": total(epoch.images for epoch in epochs) / train_seconds,
        "device": start.device,
        "precision": start.precision,
        "data": "; ".join(
            data_identity(Path(config["data"][f"{split}_dataset"])) for split in ("train", "val")
        ),
        "epochs": [epoch.to_json() for epoch in epochs],
        "config": config,
        "started": start.time,
        "machine": start.machine.to_json() if start.machine else None,
        "versions": start.versions,
        "revision": f"{source.commit}{changed}" if source else "unknown (not a git checkout)",
    }


def _train(options: argparse.Namespace, seed: int) -> tuple[Path, int]:
    """Run train_imagenet.py with this seed; returns the run's folder and the exit code."""
    name = f"{Path(options.config_file[-1]).stem}-seed{seed}-{datetime.now():%Y%m%d-%H%M%S}"
    ours = {"training.seed": seed, "logging.folder": options.folder, "logging.name": name}
    words = [*_words(options), *(f"--{key}={value}" for key, value in ours.items())]
    print(f"$ python train_imagenet.py {' '.join(words)}", flush=True)
    script = str(ROOT / "train_imagenet.py")
    return Path(options.folder, name), subprocess.run(
        [sys.executable, script, *words], check=False
    ).returncode


def _words(options: argparse.Namespace) -> list[str]:
    """Arguments of train_imagenet.py for every seed."""
    recipes = [word for file in options.config_file for word in ("-C", file)]
    return [*recipes, *options.override, "--logging.log_level=0"]


def _refuse_another(options: argparse.Namespace, records: Sequence[Record]) -> None:
    """Raise UserError where the recorded runs are of another recipe, or the recipe has several stages."""
    stages, _ = load_train_stages(_words(options))
    if len(stages) > 1:
        raise UserError(
            f"-C {options.config_file[-1]} has {len(stages)} stages: only recipes of one are measured"
        )
    asked = _settings(to_dict(stages[0]))
    for record in records:
        if record.get("stage") != "accuracy" or _settings(record["config"]) != asked:
            raise UserError(f"--json {options.json} holds other runs than this recipe's: choose another name")


def _settings(config: dict[str, dict[str, Any]]) -> dict[str, Any]:
    flat = {
        f"{section}.{key}": value for section, options in config.items() for key, value in options.items()
    }
    return {name: value for name, value in flat.items() if name not in _PLACES}


def _save(path: Path | None, records: Sequence[Record]) -> None:
    if path is not None:
        write(path, "".join(json.dumps(record) + "\n" for record in records))
        write(path.with_suffix(".md"), page(records))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("accuracy", __doc__, " -C RECIPE [-- OPTIONS OF train_imagenet.py]")
    add = parser.add_argument
    add("-C", "--config-file", action="append", required=True, metavar="FILE", help="recipe, as for training")
    seeds = opt.list_of(opt.whole(0, 2**31 - 1))
    add("--seeds", type=seeds, default=[0, 1, 2], help="separated by commas (default: 0,1,2)")
    parser.add_json()
    add("--folder", default="runs", help="where the runs' folders are made (default: runs)")
    add("override", nargs="*", help="options for train_imagenet.py, after a --")
    options = parser.parse_args(argv)
    opt.check_files(None, options.json)
    return options
