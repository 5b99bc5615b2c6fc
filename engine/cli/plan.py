"""`python -m engine plan --target 76 --hours 1 --on 8xA100`: which run reaches an accuracy in a time."""

import argparse
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, EXIT_MISSED, UserError
from engine.files import atomic_write

if TYPE_CHECKING:
    from engine.knowledge.families import Family
    from engine.plan.candidates import Candidate
    from engine.plan.choice import Choice, Request
    from engine.plan.host import Host
    from engine.plan.machine_pace import Pace

_DESCRIPTION = """Find the run that reaches an accuracy within a time or a cost on a machine, and write it as plan.yaml.

Give two of --target, --hours and --cost: the third is answered (one alone is answered by the surest short run). The \
machine is one with published speeds (--on) or this one, measured with the recipe's own loader, step and validation \
(--measure). All that is printed in brackets are 90% intervals; "both hold" is the probability that accuracy and time \
both do.

Families of runs: with --data those whose data set has as many images and classes, else ImageNet's. The exit code is 0 \
where something fits, 1 where nothing does (it says what would)."""

DATA_CLASSES = {"ImageNet-1k": 1000, "CIFAR-10": 10, "Fashion-MNIST": 10}
"""Classes of the families' data sets."""

_GPU_SCALING_ERROR = 0.03
"""MLPerf's A100 figures: 2, 4 and 8 GPUs took 231, 236 and 229 GPU-minutes."""


def main(argv: Sequence[str]) -> int:
    """Plan, print, write; returns 0, or 1 where nothing fits. Raises UserError for senseless input."""
    asked = _parser().parse_args(argv)
    if asked.families:
        return _list_families(as_json=asked.json)
    target, seconds, price = _read_target(asked.target), _read_seconds(asked), _read_price(asked.price)
    _check(asked)
    data = _read_data(asked.data)
    with importing():
        from engine.plan.choice import Request, choose
        from engine.plan.plan_file import check_free, write_plan
        from engine.plan.plan_table import as_json, draw_frontier, plan_lines

    request = Request(target=target, seconds=seconds, cost=asked.cost, price=price)
    host = _host(asked)
    check_free(asked.output, force=asked.force)
    families, image_bytes = _families(asked.family, data)
    host = replace(host, image_bytes=image_bytes)
    paces = _paces(families, asked, data, host)
    found = _candidates(families, paces, data, price)
    choice = choose(found, request)
    if choice.pick is None and asked.on:
        choice = _with_more_gpus(choice, families, asked, request, host)
    if asked.json:
        print(json.dumps(as_json(choice), indent=1))
    else:
        print("\n".join(_head(request, (choice.pick or found[0]).pace, host)))
        print("\n".join(plan_lines(choice)))
    if asked.picture:
        with atomic_write(asked.picture) as file:
            file.write(draw_frontier(choice).encode())
        _say(asked, f"picture    {asked.picture}")
    if choice.pick is None:
        return EXIT_MISSED
    write_plan(choice, asked.output, data=data, force=asked.force)
    again = "" if data else " --data.train_dataset=TRAIN.beton --data.val_dataset=VAL.beton"
    _say(asked, f"written    {asked.output}: python train_imagenet.py -C {asked.output}{again}")
    return EXIT_DONE


def _parser() -> CommandParser:
    parser = CommandParser(
        "python -m engine plan", _DESCRIPTION, "--target TOP1 --hours H (--on MACHINE | --measure) [options]"
    )
    asked = parser.add_argument_group("asked for")
    asked.add_argument("--target", metavar="TOP1", help="top-1 to reach, as 76 or 0.76")
    asked.add_argument("--hours", type=float, metavar="H", help="time for the whole run in hours")
    asked.add_argument("--minutes", type=float, metavar="M", help="the same in minutes")
    asked.add_argument("--cost", type=float, metavar="C", help="what the run may cost; needs --price")
    asked.add_argument("--price", metavar="P", help="price of the machine per hour, as 32.77/h or 32.77")
    on = parser.add_argument_group("machine")
    on.add_argument(
        "--on", metavar="MACHINE", help="a machine with published speeds, such as 8xA100-40GB or 1xH200"
    )
    on.add_argument("--measure", action="store_true", help="measure this machine; needs --data")
    on.add_argument(
        "--seconds", type=float, default=20.0, metavar="S", help="time for the measurement [default: 20]"
    )
    on.add_argument(
        "--gpus", type=int, default=1, metavar="N", help="with --measure on a GPU: plan for N of it"
    )
    on.add_argument("--cores", type=int, default=0, metavar="N", help="what if it had N cores for decoding")
    on.add_argument(
        "--storage", default="", metavar="F", help="what if the images were stored as jpeg or yuv420"
    )
    on.add_argument("--disk", metavar="SPEED", help="what if each epoch were read from a disk of, say, 1GB/s")
    runs = parser.add_argument_group("runs")
    runs.add_argument("--data", metavar="TRAIN,VAL", help="the two .beton files; written into the plan")
    runs.add_argument(
        "--family", action="append", default=[], metavar="NAME", help="plan this family only; may be repeated"
    )
    runs.add_argument("--families", action="store_true", help="list the families of runs, and end")
    out = parser.add_argument_group("output")
    out.add_argument(
        "-o", "--output", type=Path, default=Path("plan.yaml"), metavar="FILE", help="[default: plan.yaml]"
    )
    out.add_argument("--force", action="store_true", help="replace the file")
    out.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw accuracy against time")
    out.add_argument("--json", action="store_true", help="print everything as JSON instead")
    return parser


def _check(asked: argparse.Namespace) -> None:
    if bool(asked.on) == asked.measure:
        raise UserError("say which machine: --on MACHINE for published speeds, or --measure for this one")
    if asked.measure and not asked.data:
        raise UserError("--measure needs --data TRAIN.beton,VAL.beton, the files that it reads")
    if asked.gpus < 1 or (asked.gpus > 1 and not asked.measure):
        raise UserError(
            f"--gpus {asked.gpus}: a number from 1 on, with --measure; --on names its own, as in 8xH200"
        )
    if asked.cores < 0:
        raise UserError(f"--cores {asked.cores}: must be at least 1")
    if asked.cost is not None and not 0 < asked.cost < math.inf:
        raise UserError(f"--cost {asked.cost:g}: must be above 0")


def _read_target(given: str | None) -> float | None:
    """Top-1 as a share: 76, 76% and 0.76 are the same."""
    if given is None:
        return None
    try:
        value = float(given.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    share = value / 100 if value > 1 or given.strip().endswith("%") else value
    if not 0 < share <= 1:
        raise UserError(
            f"--target {given}: must be a top-1 accuracy above 0 and at most 100, as in 76 or 0.76"
        )
    return share


def _read_seconds(asked: argparse.Namespace) -> float | None:
    if asked.hours is not None and asked.minutes is not None:
        raise UserError("--hours and --minutes both set the time: drop one")
    for name, unit in (("hours", 3600), ("minutes", 60)):
        value = getattr(asked, name)
        if value is not None:
            if not 0 < value < math.inf:
                raise UserError(f"--{name} {value:g}: must be above 0")
            return float(value * unit)
    return None


def _read_price(given: str | None) -> float:
    """Per hour; 0 without one."""
    if given is None:
        return 0.0
    match = re.fullmatch(r"[^\d.+-]?\s*([0-9.]+)\s*(?:/\s*(?:h|hour))?", given.strip())
    try:
        price = float(match[1]) if match else 0.0
    except ValueError:
        price = 0.0
    if not 0 < price < math.inf:
        raise UserError(f"--price {given}: must be a price per hour above 0, as in 32.77/h")
    return price


def _read_data(given: str | None) -> tuple[str, str] | None:
    if given is None:
        return None
    parts = [part.strip() for part in given.split(",")]
    if len(parts) != 2 or not all(parts):
        raise UserError(f"--data {given}: give two files, as in train.beton,val.beton")
    return parts[0], parts[1]


def _host(asked: argparse.Namespace) -> "Host":
    from engine.plan.host import Host, read_speed

    disk = read_speed(asked.disk) if asked.disk else 0.0
    return Host(cores=asked.cores, storage=asked.storage, disk=disk)


def _families(names: Sequence[str], data: tuple[str, str] | None) -> "tuple[list[Family], float]":
    """The families to plan, and the mean bytes of an image where a file is given (else 0)."""
    from engine.knowledge.families import FAMILIES, find_family

    chosen = [find_family(name) for name in names]
    with_recipe = [family for family in FAMILIES.values() if family.recipe]
    if not data:
        return chosen or [family for family in with_recipe if family.data == "ImageNet-1k"], 0.0
    with importing():
        from engine.data.beton.pair import agree_on_classes
        from engine.data.beton.reader import open_beton

    train, val = (open_beton(path) for path in data)
    classes = agree_on_classes(train, val).count
    sizes = (train.num_samples, val.num_samples)
    fitting = [
        family
        for family in chosen or with_recipe
        if (family.num_train, family.num_val) == sizes and DATA_CLASSES.get(family.data, classes) == classes
    ]
    if not fitting:
        known = sorted(
            {f"{family.data} ({family.num_train:,} and {family.num_val:,})" for family in with_recipe}
        )
        raise UserError(
            f"--data: {sizes[0]:,} training and {sizes[1]:,} validation images of {classes} classes are of no "
            f"{'such ' if chosen else ''}family, so their accuracy can't be predicted; known: {', '.join(known)}"
        )
    return fitting, float(train.sizes.mean())


def _paces(
    families: "Sequence[Family]", asked: argparse.Namespace, data: tuple[str, str] | None, host: "Host"
) -> "dict[str, Pace]":
    """The machine's pace by family; families that can't be planned on it are left out, named families refused."""
    from engine.plan.candidates import family_recipe
    from engine.plan.host import with_host

    recipes, refused = {}, ""
    for family in families:
        try:
            recipes[family.name] = family_recipe(family, data)
        except UserError as error:
            if asked.family:
                raise
            refused = str(error)
    if not recipes:
        raise UserError(refused)
    paces = {}
    for family in (family for family in families if family.name in recipes):
        if asked.on:
            pace = _published(family, asked.on)
        else:
            pace = _measured(family, asked, data, asked.seconds / len(recipes))
        paces[family.name] = with_host(pace, host)
    return paces


def _published(family: "Family", name: str) -> "Pace":
    from engine.knowledge.machines import find_machine
    from engine.plan.candidates import family_recipe, sides_of
    from engine.plan.published_pace import published_pace

    recipe = family_recipe(family)
    return published_pace(family, recipe, find_machine(name), sides_of(recipe, family.num_train))


def _measured(
    family: "Family", asked: argparse.Namespace, data: tuple[str, str] | None, seconds: float
) -> "Pace":
    from engine.train.ranks.process import limit_spinning

    # It acts on the import of torch.
    limit_spinning()
    with importing():
        from engine.plan.candidates import family_recipe
        from engine.plan.measure import LEAST_SECONDS, measure_pace

    pace = measure_pace(family_recipe(family, data), max(LEAST_SECONDS, seconds))
    if asked.gpus > 1 and not pace.gpus:
        raise UserError(f"--gpus {asked.gpus}: this machine trains on its CPU")
    return pace.on_gpus(asked.gpus, _GPU_SCALING_ERROR) if asked.gpus > 1 else pace


def _candidates(
    families: "Sequence[Family]", paces: "dict[str, Pace]", data: tuple[str, str] | None, price: float
) -> "list[Candidate]":
    from engine.plan.candidates import candidates, family_recipe

    found = []
    for family in (family for family in families if family.name in paces):
        found += candidates(family, family_recipe(family, data), paces[family.name], price)
    return found


def _with_more_gpus(
    choice: "Choice",
    families: "Sequence[Family]",
    asked: argparse.Namespace,
    request: "Request",
    host: "Host",
) -> "Choice":
    """The choice, with the fewest GPUs of the same kind on which something would fit as further advice."""
    from engine.knowledge.machines import find_machine
    from engine.plan.choice import choose

    machine = find_machine(asked.on)
    for count in (count for count in (2, 4, 8) if count > machine.count):
        name = f"{count}x{machine.gpu}"
        # The price is this machine's: more GPUs cost as much more.
        price = request.price * count / machine.count
        more = argparse.Namespace(**{**vars(asked), "on": name})
        found = _candidates(families, _paces(families, more, None, host), None, price)
        pick = choose(found, replace(request, price=price)).pick
        if pick:
            words = f"more GPUs: on {name} {pick.family.name} fits, {pick.epochs:g} epochs"
            return replace(choice, advice=(*choice.advice, words))
    return choice


def _head(request: "Request", pace: "Pace", host: "Host") -> list[str]:
    from engine.plan.host import host_lines
    from engine.report import text

    wanted = [f"top-1 {text.percent(request.target)}"] if request.target is not None else []
    wanted += [f"within {text.duration(request.seconds)}"] if request.seconds is not None else []
    wanted += [f"for at most {request.cost:,.2f}"] if request.cost is not None else []
    wanted += [f"at {request.price:g} an hour"] if request.price else []
    lines = [f"asked      {', '.join(wanted)}", f"machine    {pace.machine}: {pace.basis}"]
    return lines + [
        f"what if    {line}" for line in (host_lines(pace) if host.asked or pace.measured else [])
    ]


def _list_families(*, as_json: bool) -> int:
    from engine.knowledge.families import FAMILIES

    rows = []
    for family in FAMILIES.values():
        low, high = family.range()
        rows.append(
            {
                "family": family.name,
                "data": family.data,
                "network": family.network,
                "epochs": [low, high],
                "top1": [family.predict(low).top1, family.predict(high).top1],
                "measured": family.measured,
                "recipe": family.recipe,
                "source": family.source,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=1))
        return EXIT_DONE
    for family in FAMILIES.values():
        low, high = family.range()
        covers = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        shares = sorted({f"{100 * family.predict(length).top1:.1f}" for length in (low, high)})
        kind = "measured" if family.measured else "published"
        where = family.recipe or "no recipe here"
        print(
            f"{family.name:<20} {family.data}, {covers} epochs, {' to '.join(shares)}%, {kind} "
            f"({len(family.points)} point{'s' if len(family.points) > 1 else ''}): {where}"
        )
    return EXIT_DONE


def _say(asked: argparse.Namespace, line: str) -> None:
    """A line for people, which JSON's readers don't get."""
    if not asked.json:
        print(line)
