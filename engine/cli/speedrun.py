"""`python -m engine speedrun`: the whole job on real images, through the two scripts that a user would run.

Fashion-MNIST comes from Debian's package if it is installed, else from torchvision's download. Files of an earlier
speedrun are used again. The machine is measured first, and the run is planned for it: the time follows the machine.
"""

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.command_line import CommandParser
from engine.config.installation import CONVERT, RECIPES, TRAIN, WORK, command_of
from engine.config.load import load_train_stages
from engine.config.train.train_config import TrainConfig
from engine.ctrl_c import importing
from engine.errors import UserError
from engine.report import text

if TYPE_CHECKING:
    from engine.plan.candidates import Candidate
    from engine.plan.pace.machine_pace import Pace
    from engine.plan.surest import Offer

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
RECIPE = Path("rn50_configs") / "demo.yaml"
FOLDER = WORK / "data" / "fashion-mnist"
PLAN = "plan.yaml"

TARGET = 0.92
"""Top-1, as long as a run that is sure of it takes at most MOST_MINUTES."""
MOST_MINUTES = 12.0
MEASURED_SECONDS = 20.0
"""The start of the measuring process included; where that is slow, at least 4 s of timing follow it (measure_pace)."""

_NOT_PLANNED = {
    *("training.epochs", "training.timeline", "training.eval_only", "training.resume", "plan.family"),
    # A recipe of the user's: nothing is known about its accuracy.
    "-C",
}
"""Options with which no plan is made: they set the length, or what is known does not hold for the run."""

_DESCRIPTION = f"""Convert Fashion-MNIST, measure this machine, plan a run that reaches {TARGET:.0%}, train it and \
write the report.

The images come from Debian's package dataset-fashion-mnist if it is installed, else from torchvision's download. \
Files of an earlier speedrun are used again.

The machine is measured for at most 20 seconds, the start of Python and torch included. Where that alone takes more \
than 15, the timing still gets 4, and on a very slow machine as long as its fewest steps take. The plan, {PLAN} in the \
data's folder, is the shortest run that is sure to reach {TARGET:.0%} top-1, in the time that this machine needs: both \
hold with a probability of at least 90%. If that takes more than {MOST_MINUTES:.0f} minutes, the target is lowered in \
steps of half a point. While it trains, the run keeps to its time limit (budget.adapt). Options that set \
budget.target_top1 or budget.minutes win: the run is planned for these. Where options set its length, it is not planned.

The exit code is the training run's: 0 where target and time limit were kept."""


def main(argv: Sequence[str]) -> int:
    """Convert, measure, plan, train, report; returns the training run's exit code. Raises UserError."""
    parser = CommandParser("python -m engine speedrun", _DESCRIPTION, "[--folder DIR] [-- OPTION...]")
    parser.add_argument(
        "--folder",
        type=Path,
        default=FOLDER,
        metavar="DIR",
        help="folder for the data and the plan [default: data/fashion-mnist]",
    )
    parser.add_argument(
        "override", nargs="*", metavar="OPTION", help="after a --: options for train_imagenet.py"
    )
    arguments = parser.parse_args(argv)
    folder, override = arguments.folder.resolve(), arguments.override
    train, val = (folder / f"{split}.beton" for split in ("train", "val"))
    data = [f"--data.train_dataset={train}", f"--data.val_dataset={val}"]
    # Before minutes of work: a wrong option is refused now.
    asked = load_train_stages(["-C", str(RECIPES / RECIPE), *data, *override])[0][0]
    if not (_is_whole(train) and _is_whole(val)):
        source = DEBIAN_FOLDER if DEBIAN_FOLDER.is_dir() else _download(folder)
        output = [f"--output.folder={folder}", "--output.overwrite=true"]
        code = _run("write_dataset.py", f"--source.path={source}", *output)
        if code:
            return code
    recipe = RECIPE
    if not _names(override) & _NOT_PLANNED:
        recipe = _plan(asked, folder, _names(override))
    return _run("train_imagenet.py", "-C", str(recipe), *data, *override)


def _names(override: Sequence[str]) -> set[str]:
    """The names of the options that are given, such as training.epochs."""
    return {word.removeprefix("--").partition("=")[0] for word in override}


def _plan(asked: TrainConfig, folder: Path, given: set[str]) -> Path:
    """Measure the machine, say what can be promised, write the plan; returns its path. Raises UserError."""
    from engine.knowledge.families import find_family
    from engine.plan.candidates import candidates
    from engine.plan.plan_file import write_plan

    family, pace = find_family(asked.plan.family), measure(asked)
    found = candidates(family, asked, pace)
    offer = _offer(found, asked, given)
    precision = asked.training.precision if asked.training.precision != "auto" else pace.precision
    print("\n".join(_words(offer, pace, precision)), flush=True)
    path = folder / PLAN
    data = asked.data.train_dataset, asked.data.val_dataset
    write_plan(offer.as_choice(found), path, data=data, force=True)
    return path


def measure(asked: TrainConfig) -> "Pace":
    """This machine's pace for the run, with progress on stderr."""
    from engine.plan.pace.measure_apart import measure_apart

    return measure_apart(asked, MEASURED_SECONDS)


def _offer(found: "Sequence[Candidate]", asked: TrainConfig, given: set[str]) -> "Offer":
    """What is planned: options that set the target or the time limit win."""
    from engine.plan.surest import likeliest, surest

    target, seconds = asked.budget.target_top1, asked.budget.seconds
    timed = not given.isdisjoint({"budget.minutes", "budget.hours"})
    if "budget.target_top1" in given:
        return likeliest(found, target, seconds if timed else None)
    offer = surest(found, TARGET, seconds if timed else 60 * MOST_MINUTES)
    if not timed:
        return offer
    # Where even the shortest known run takes longer, nothing can be promised but the time.
    return replace(offer, seconds=seconds, target=offer.target if offer.seconds <= seconds else 0.0)


def _words(offer: "Offer", pace: "Pace", precision: str) -> list[str]:
    """What the machine can do, and what is promised."""
    pick, limit = offer.pick, text.duration(offer.seconds)
    duration, predicted = pick.duration, pick.prediction
    lines = [f"machine: {pace.machine}, {pace.basis}"]
    if not offer.target:
        return [
            *lines,
            f"no accuracy is known for {limit} here: the shortest known run takes {text.duration(duration.seconds)}",
            f"time limit: {limit}, all of it used to train; no target",
        ]
    if offer.lowered:
        lines.append(
            f"{_points(TARGET)} would take more than {text.duration(offer.most_seconds)} here, so the target is "
            f"{_points(offer.target)}"
        )
    details = [
        f"{pick.family.name}, {pick.epochs:g} epochs",
        *([precision] if precision else []),
        f"predicted {text.percent(predicted.top1, 1)} [{100 * predicted.low:.1f}-{100 * predicted.high:.1f}]",
    ]
    return [
        *lines,
        f"{_points(offer.target)} here takes about {text.duration(duration.seconds)} "
        f"[{text.clock(duration.low)}-{text.clock(duration.high)}] ({', '.join(details)})",
        f"time limit: {limit}, all of it used to train; target and time limit both hold with a probability of "
        f"{offer.probability:.0%}",
    ]


def _points(share: float) -> str:
    """0.92 -> "92%", 0.915 -> "91.5%"."""
    return f"{100 * share:g}%"


def _is_whole(path: Path) -> bool:
    """Whether an earlier speedrun wrote this file completely; a damaged one is written again."""
    if not path.exists():
        return False
    with importing():
        from engine.data.beton.reader import open_beton

    try:
        open_beton(path)
    except UserError as error:
        print(f"note: writing {path.name} again: {error}", flush=True)
        return False
    return True


def _download(folder: Path) -> Path:
    # torchvision takes seconds to import and is needed only here.
    with importing():
        from torchvision.datasets import FashionMNIST

    try:
        for train in (True, False):
            FashionMNIST(str(folder), train=train, download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"can't download Fashion-MNIST: {reason}; on Debian or Ubuntu install the package "
            f"dataset-fashion-mnist, or connect to the network"
        ) from None
    return folder / "FashionMNIST" / "raw"


def _run(script: str, *options: str) -> int:
    print(f"$ {CONVERT if script == 'write_dataset.py' else TRAIN} {shlex.join(options)}", flush=True)
    return subprocess.run(command_of(script, *options), cwd=WORK, check=False).returncode
