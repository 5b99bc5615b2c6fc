"""`python -m engine find-lr -C RECIPE --data...`: a learning rate for a recipe, by a range test on its batches."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.command_line import CommandParser
from engine.config.load import load_train_stages
from engine.config.train.train_config import TrainConfig
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, UserError, describe_os_error
from engine.files import atomic_write

if TYPE_CHECKING:
    from engine.train.lr_range import RangePoint, Reading
    from engine.train.ranks.group import Ranks

_DESCRIPTION = """Find a learning rate for a recipe by a range test (Smith 2015): train on its batches while the rate \
grows by the same factor each step, until the loss explodes.

All other options are those of train_imagenet.py (-C RECIPE, --data..., ...); data, augmentation, network, optimizer, \
batch and precision are the recipe's, at its first resolution. No weights are kept. The same seed gives the same curve.

The suggestion is the rate at which the smoothed loss stops falling (Smith); for schedules without a peak (constant, \
step) a tenth of it (fastai's rule). There is none if the loss still falls at --to, or never falls by more than its \
noise. The rate of the steepest fall and the one by linear scaling for the global batch (Goyal et al. 2017) are \
printed beside it."""

POINTS_NAME, PICTURE_NAME = "lr_range.json", "lr_range.svg"


def main(argv: Sequence[str]) -> int:
    """Run the test, save its points and a picture, print the result; returns 0. Raises UserError."""
    asked, rest = _parser().parse_known_args(argv)
    _check(asked)
    stages, recipe = load_train_stages(rest)
    config = stages[stages[0].training.first_stage - 1]
    if config.training.eval_only or config.training.resume:
        raise UserError("find-lr starts its own training: drop training.eval_only and training.resume")
    name = f"find-lr-{recipe}-{datetime.now():%Y%m%d-%H%M%S}"
    return _find(config, recipe, asked, asked.folder or Path(config.logging.folder) / name)


def _parser() -> CommandParser:
    usage = "[-C RECIPE] [options] [options of train_imagenet.py]"
    parser = CommandParser("python -m engine find-lr", _DESCRIPTION, usage, allow_abbrev=False)
    parser.add_argument(
        "--from", dest="start", type=float, default=1e-4, metavar="LR", help="first rate [default: 1e-4]"
    )
    parser.add_argument(
        "--to", dest="end", type=float, default=10.0, metavar="LR", help="last rate [default: 10]"
    )
    parser.add_argument(
        "--steps", type=int, default=200, metavar="N", help="optimizer steps, at least 20 [default: 200]"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="folder for the picture and the points [default: a new one in logging.folder]",
    )
    return parser


def _check(asked: argparse.Namespace) -> None:
    if not 0 < asked.start < asked.end < float("inf"):
        raise UserError(
            f"--from {asked.start:g}, --to {asked.end:g}: both must be above 0, and --from below --to"
        )
    if asked.steps < 20:
        raise UserError(f"--steps {asked.steps}: a curve needs at least 20 steps")


def _find(config: TrainConfig, recipe: str, asked: argparse.Namespace, folder: Path) -> int:
    from engine.train.ranks.process import limit_spinning

    # It acts on the import of torch.
    limit_spinning()
    with importing():
        from engine.report.drawing import lr_curve
        from engine.train.lr_range import rates, read_curve
        from engine.train.ranks.group import process_group

    with process_group(config.training.device, pin_cores=config.data.pin_cores) as ranks:
        if ranks.main:
            _make(folder)
        batch, points = _test(config, ranks, rates(asked.start, asked.end, asked.steps))
        if not ranks.main:
            return EXIT_DONE
        if not points:
            raise UserError(f"the loss was not finite in the first step, at {asked.start:g}: lower --from")
        said, own = read_curve(points, exploded=len(points) < asked.steps), config.lr.lr
        reading = None if isinstance(said, str) else said
        title = f"Learning rate range test of {recipe}, global batch {batch}"
        picked = reading.suggestion(peaked=_peaked(config)) if reading else None
        picture = lr_curve.draw(title, points, reading, picked, own)
        _write(folder / PICTURE_NAME, picture)
        _write(folder / POINTS_NAME, _as_json(config, recipe, batch, points, reading))
        print("\n".join(_words(config, batch, asked, points, said)))
        print(f"picture         {folder / PICTURE_NAME}\npoints          {folder / POINTS_NAME}")
    return EXIT_DONE


def _test(config: TrainConfig, ranks: "Ranks", learning_rates: list[float]) -> tuple[int, "list[RangePoint]"]:
    """The recipe's global batch and the curve's points."""
    with importing():
        from engine.data.beton.pair import agree_on_classes
        from engine.data.remote.open_data import open_data
        from engine.train.lr_range import as_tested, range_test
        from engine.train.open_loader import open_loader
        from engine.train.ranks.backends import set_backends
        from engine.train.schedules import resolution_at
        from engine.train.step.precision import choose_precision
        from engine.train.trainer import Trainer
        from engine.train.weights import build_network

    config = as_tested(config, resolution_at(config.resolution, 0, config.training.epochs))
    precision = choose_precision(config.training.precision, ranks.device)
    set_backends(ranks.device, tf32=config.training.tf32, deterministic=config.training.deterministic)
    beton = open_data(config.data.train_dataset, config.data, shows=ranks.main)
    classes = agree_on_classes(beton).count
    model = build_network(config, classes, ranks.device)
    with open_loader(config, ranks, precision, beton, training=True) as loader:
        trainer = Trainer(config, ranks, precision, loader, model, classes)
        if ranks.main:
            print(f"{trainer.plan(0)}, {trainer.side(0)} px, {precision.name}", flush=True)
        points = list(range_test(trainer, learning_rates))
    return trainer.plan(0).global_batch, points


def _words(
    config: TrainConfig,
    batch: int,
    asked: argparse.Namespace,
    points: "Sequence[RangePoint]",
    said: "Reading | str",
) -> list[str]:
    from engine.train.lr_range import EXPLODED, linear_scaling

    ended = f"ran to the end, lr {points[-1].lr:.3g}"
    if len(points) < asked.steps:
        ended = f"the loss exploded ({EXPLODED:g} times its lowest, or not finite) at lr {points[-1].lr:.3g}"
    lines = [f"test            {len(points)} of {asked.steps} steps from lr {points[0].lr:.3g}: {ended}"]
    if isinstance(said, str):
        lines.append(f"suggestion      none: {said}")
    else:
        why = "peak of the schedule: where the loss stops falling, Smith 2015"
        if not _peaked(config):
            why = "a tenth of the rate with the lowest loss, fastai's rule, as the schedule starts at its highest rate"
        lines += [
            f"suggestion      lr.lr={said.suggestion(peaked=_peaked(config)):.3g} ({why})",
            f"steepest        {said.steepest:.3g} (where the loss falls fastest: a careful choice)",
        ]
    scaled, optimizer = linear_scaling(batch), config.training.optimizer
    meant = "" if optimizer in ("sgd", "sgdw") else f", for SGD, not for {optimizer}"
    lines.append(f"linear scaling  {scaled:.3g} (0.1 x {batch} / 256: Goyal et al. 2017{meant})")
    return [*lines, f"recipe          {config.lr.lr:.3g} (lr.lr, its peak)"]


def _peaked(config: TrainConfig) -> bool:
    """Whether the recipe's learning rate rises to lr.lr and falls again."""
    return config.lr.lr_schedule_type not in ("constant", "step")


def _as_json(
    config: TrainConfig, recipe: str, batch: int, points: "Sequence[RangePoint]", reading: "Reading | None"
) -> str:
    from engine.train.lr_range import linear_scaling

    said = None
    if reading:
        said = {**asdict(reading), "suggestion": reading.suggestion(peaked=_peaked(config))}
    content = {
        "recipe": recipe,
        "global_batch": batch,
        "optimizer": config.training.optimizer,
        "seed": config.training.seed,
        "recipe_lr": config.lr.lr,
        "linear_scaling": linear_scaling(batch),
        "reading": said,
        "points": [asdict(point) for point in points],
    }
    return json.dumps(content, indent=1) + "\n"


def _make(folder: Path) -> None:
    """Make the folder before the test, so that a wrong one is noticed before minutes of work. Raises UserError."""
    for path in (folder / PICTURE_NAME, folder / POINTS_NAME):
        if path.exists():
            raise UserError(f"{path} already exists: choose another --folder, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise describe_os_error(error, folder, "make the folder") from None


def _write(path: Path, content: str) -> None:
    with atomic_write(path) as file:
        file.write(content.encode())
