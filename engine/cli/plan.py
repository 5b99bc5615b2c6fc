"""`python -m engine plan --target 76 --hours 1 --on 8xA100`: which run reaches an accuracy in a time."""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.command_line import CommandParser
from engine.config.installation import TRAIN
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, EXIT_MISSED, UserError
from engine.files import atomic_write
from engine.plan.asked import read_data, read_price, read_seconds, read_target
from engine.plan.pace.machine_pace import LEAST_SECONDS, MOST_SECONDS

if TYPE_CHECKING:
    from engine.plan.choice import Choice
    from engine.plan.pace.host import Host

_DESCRIPTION = """Find the run that reaches an accuracy within a time or a cost on a machine, and write it as plan.yaml.

Give two of --target, --hours and --cost: the third is answered (one alone is answered by the surest short run). The \
machine is one with published speeds (--on) or this one, measured with the recipe's own loader, step and validation \
(--measure). All that is printed in brackets are 90% intervals; "both hold" is the probability that accuracy and time \
both do.

Families of runs: with --data those whose data set has as many images and classes, else ImageNet's. The exit code is 0 \
where something fits, 1 where nothing does (it says what would)."""


def main(argv: Sequence[str]) -> int:
    """Plan, print, write; returns 0, or 1 where nothing fits. Raises UserError for senseless input."""
    asked = _parser().parse_args(argv)
    if asked.families:
        return _list_families(as_json=asked.json)
    target, seconds = read_target(asked.target), read_seconds(asked.hours, asked.minutes)
    price, data = read_price(asked.price), read_data(asked.data)
    _check(asked)
    with importing():
        from engine.plan.choice import Request, choose
        from engine.plan.pace.host import Host, read_speed
        from engine.plan.plan_file import check_free, write_plan
        from engine.plan.planner import Planner

    request = Request(target=target, seconds=seconds, cost=asked.cost, price=price)
    host = Host(cores=asked.cores, storage=asked.storage, disk=read_speed(asked.disk) if asked.disk else 0.0)
    check_free(asked.output, force=asked.force)
    planner = Planner(names=asked.family, data=data, host=host, price=price)
    found = planner.on_machine(asked.on) if asked.on else planner.measured(asked.seconds, asked.gpus)
    choice = choose(found, request)
    if choice.pick is None and asked.on:
        choice = replace(choice, advice=(*choice.advice, *planner.more_gpus(asked.on, request)))
    # The files first: who reads only the first lines (| head) ends the command there.
    if asked.picture:
        _draw(choice, asked.picture)
    if choice.pick is not None:
        write_plan(choice, asked.output, data=data, force=asked.force)
    _print(choice, asked, host)
    if choice.pick is None:
        return EXIT_MISSED
    again = "" if data else " --data.train_dataset=TRAIN.beton --data.val_dataset=VAL.beton"
    _say(asked, f"written    {asked.output}: {TRAIN} -C {asked.output}{again}")
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
        "--on",
        metavar="MACHINE",
        help="a machine with published speeds or rates, such as 8xA100-40GB, 1xH200 or 4xRTX4090",
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
    if not LEAST_SECONDS <= asked.seconds <= MOST_SECONDS:
        raise UserError(
            f"--seconds {asked.seconds:g}: a measurement takes {LEAST_SECONDS:g} to {MOST_SECONDS:g} seconds"
        )
    if asked.picture and not asked.picture.parent.is_dir():
        raise UserError(
            f"--picture {asked.picture}: the folder {asked.picture.parent} does not exist: create it"
        )
    if asked.cores < 0:
        raise UserError(f"--cores {asked.cores}: must be at least 1")
    if asked.cost is not None and not 0 < asked.cost < math.inf:
        raise UserError(f"--cost {asked.cost:g}: must be above 0")


def _draw(choice: "Choice", path: Path) -> None:
    from engine.plan.plan_table import draw_frontier

    with atomic_write(path) as file:
        file.write(draw_frontier(choice).encode())


def _print(choice: "Choice", asked: argparse.Namespace, host: "Host") -> None:
    from engine.plan.plan_table import as_json, plan_lines

    if asked.json:
        print(json.dumps(as_json(choice), indent=1))
    else:
        print("\n".join([*_head(choice, host), *plan_lines(choice)]))
    if asked.picture:
        _say(asked, f"picture    {asked.picture}")


def _head(choice: "Choice", host: "Host") -> list[str]:
    """What is asked, of which machine, and its stages' speeds where they are known."""
    from engine.plan.pace.host import host_lines
    from engine.report import text

    request, pace = choice.request, (choice.pick or choice.found[0]).pace
    wanted = [f"top-1 {text.percent(request.target)}"] if request.target is not None else []
    wanted += [f"within {text.duration(request.seconds)}"] if request.seconds is not None else []
    wanted += [f"for at most {request.cost:,.2f}"] if request.cost is not None else []
    wanted += [f"at {request.price:g} an hour"] if request.price else []
    lines = [f"asked      {', '.join(wanted)}", f"machine    {pace.machine}: {pace.basis}"]
    name = "what if   " if host.asked else "speeds    "
    return lines + [f"{name} {line}" for line in (host_lines(pace) if host.asked or pace.measured else [])]


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
