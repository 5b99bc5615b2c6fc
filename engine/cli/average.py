"""`python -m engine average RUN... --train FILE --val FILE`: several runs' weights, or one run's, averaged into one."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, EXIT_MISSED, UserError
from engine.train.ranks.process import limit_spinning

if TYPE_CHECKING:
    from engine.average.averaging import Average, Averaging, Tried
    from engine.train.evaluation.accuracy import Accuracy

_DESCRIPTION = """Average the weights of several runs of one network (a soup), or of the checkpoints of one run (SWA).

The statistics of batch norm are computed again from training images. Each network by itself and the average before \
and after that are measured on the validation images, and the average is written with a card that says so. --greedy \
takes in only networks that do not make it worse.

Exit code: 0 written; 1 not written, as the greedy choice is one network alone."""

_FAR = 0.02
"""An average so far below the best network is of weights that don't belong together."""


def main(argv: Sequence[str]) -> int:
    """Average, measure, print and write; returns 1 where there is nothing to write. Raises UserError for bad input."""
    asked = _parse(argv)
    # It acts on the import of torch.
    limit_spinning()
    with importing():
        from engine.average.averaging import Averaging, Wanted
        from engine.average.ingredients import gather, recipe_of
        from engine.average.soup_files import default_out, refuse_place, write_average
        from engine.data.beton.reader import open_beton
        from engine.train.ranks.group import process_group

    out = asked.out or default_out(asked.runs, greedy=asked.greedy)
    refuse_place(out)
    ingredients = gather(asked.runs)
    recipe = recipe_of(ingredients[0], asked.options, asked.train, asked.val)
    crops = asked.crops or ("train" if recipe.of_training else "val")
    if crops == "train" and not recipe.of_training:
        raise UserError(
            f"--crops train: {ingredients[0].known.file} has no config.yaml beside it that says how it was trained: "
            "give --crops val"
        )
    wanted = Wanted(
        images=asked.images,
        crops=crops,
        seed=asked.seed,
        ensemble=asked.ensemble,
        chosen_on=asked.chosen_on,
    )
    with (
        process_group(recipe.config.training.device) as ranks,
        Averaging(
            recipe, ranks, open_beton(asked.train), open_beton(asked.val), ingredients, wanted, _note
        ) as averaging,
    ):
        print(
            f"{len(ingredients)} networks ({recipe.config.model.arch}); {_conditions(averaging)}", flush=True
        )
        average = averaging.greedy(_tell_step) if asked.greedy else averaging.uniform()
        if average is None:
            print("the greedy soup is that network alone: no other makes it better; nothing is written")
            return EXIT_MISSED
        print(report(average, wanted.crops))
        written = write_average(averaging, average, out)
    print(f"wrote {', '.join(map(str, written))}")
    return EXIT_DONE


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    usage = "RUN... --train FILE --val FILE [options] [-- OPTION...]"
    parser = CommandParser("python -m engine average", _DESCRIPTION, usage)
    add = parser.add_argument
    add(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="folders of runs or weights files of one architecture; of one run's folder all checkpoints that it keeps",
    )
    add("--train", type=Path, required=True, metavar="FILE", help=".beton file for training")
    add("--val", type=Path, required=True, metavar="FILE", help=".beton file for validation")
    add("--greedy", action="store_true", help="take in only networks that do not make the average worse")
    add(
        "--chosen-on",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="with --greedy: share of the validation images that it chooses on; accuracies are of the others "
        "[default: 0.5]",
    )
    add("--ensemble", action="store_true", help="also measure the mean of the networks' softmax")
    add(
        "--images",
        type=int,
        default=10_000,
        metavar="N",
        help="training images for batch norm's statistics [default: 10000]",
    )
    add(
        "--crops",
        choices=("train", "val"),
        help="how these images are cut: train, as in the recipe's last epoch, with its augmentations [default where "
        "the recipe is known]; val, as validation does",
    )
    add("--seed", type=int, default=0, help="seed of the images that are drawn [default: 0]")
    add(
        "--out",
        type=Path,
        metavar="PATH",
        help="folder for model.safetensors and weights.pt, or one file ending in .safetensors or .pt [default: beside "
        "the first run, RUN_soup, RUN_greedy_soup or RUN_swa]",
    )
    # argparse gives what follows a -- to the first list.
    words = list(argv)
    split = words.index("--") if "--" in words else len(words)
    asked = parser.parse_args(words[:split])
    asked.options = words[split + 1 :]
    _check(asked)
    return asked


def _check(asked: argparse.Namespace) -> None:
    if not 0 < asked.chosen_on < 1:
        raise UserError(f"--chosen-on {asked.chosen_on:g} is not between 0 and 1: give a share such as 0.5")
    if asked.images < 1:
        raise UserError(f"--images {asked.images} is below 1: give some, such as 10000")
    if asked.seed < 0:
        raise UserError(f"--seed {asked.seed} is below 0: give a whole number from 0")


def _note(line: str) -> None:
    print(f"note: {line}", flush=True)


def _conditions(averaging: "Averaging") -> str:
    from engine.report.terminal.summary import measured_as

    asked = averaging.recipe.config.validation
    said = measured_as(asked.resolution, asked.ratio, asked.crop_law, tta=asked.lr_tta)
    return f"measured at {said}"


def _tell_step(tried: "Tried") -> None:
    print(
        f"{'+' if tried.taken else '-'} {tried.name}: {tried.accuracy.top1:.2%} on {tried.accuracy.count:,} images"
        f"{'' if tried.taken else ', left out'}",
        flush=True,
    )


def report(average: "Average", crops: str) -> str:
    """The accuracies as a table, and a warning where the average is far below the best network."""
    rows: list[tuple[str, Accuracy]] = list(average.alone.items())
    images = average.statistics_images
    rows.append((f"mean of {len(average.members)}", average.before))
    if average.best_after:
        rows.append((f"its batch norm from {images:,} images", average.after[0]))
        rows.append((f"{average.best}, batch norm too", average.best_after))
    if average.ensemble:
        rows.append((f"ensemble of {len(average.members)}", average.ensemble))
    width = max(len(name) for name, _ in rows)
    lines = [f"{'':{width}}    top-1    top-5    loss"]
    lines += [f"{name:{width}}  {one.top1:7.2%}  {one.top5:7.2%}  {one.loss:6.4f}" for name, one in rows]
    best = average.alone[average.best]
    gap = average.after[0].top1 - best.top1
    line = f"{100 * gap:+.2f} points from the best network alone ({average.best}), on {best.count:,} images"
    if average.best_after:
        same = 100 * (average.after[0].top1 - average.best_after.top1)
        line += f"; {same:+.2f} where its batch norm is computed anew too, from {crops} crops"
    lines.append(line)
    if gap < -_FAR:
        lines.append(
            "warning: these weights do not average: soups are of runs that started from the same trained weights; use "
            "--greedy, or evaluate them together (model.ensemble)"
        )
    return "\n".join(lines)
