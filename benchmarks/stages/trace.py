"""`python -m benchmarks trace`: what a compiled training step does on a GPU, from its code alone; no GPU is needed.

Launches and bytes per image of forward and backward pass, in bf16 and channels_last; graphs, and what breaks them.
With --check they are compared with the committed table (engine/knowledge/traced_steps.json), which the planner's
predictions stand on: exit code 1 where anything grew. One case takes about 2 minutes of CPU for ResNet-50 at two
resolutions, half a minute for ResNet-18. With --write the table gets the cases that were traced. Nothing has run on a
GPU: cuDNN's own choice of kernels is not seen.
"""

import argparse
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import arguments as opt
from benchmarks.sides.steps.local_step import step_config
from benchmarks.sides.steps.traced_step import Graph, Tracer
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.knowledge.traced_steps import TABLE, TracedStep, read_steps, step_lines, write_steps

SLACK = 0.005
"""Bytes may differ by as much from the table's on the torch that it was made with, launches by none."""
OTHER_SLACK = 0.10
"""And both on another torch."""


def main(argv: Sequence[str]) -> int:
    """Trace, print, and compare or write; returns the exit code."""
    options = _parse(argv)
    import torch

    version, known = torch.__version__.split("+")[0], read_steps(options.table)
    tracer = Tracer()
    found = []
    for arch, blur, combo in itertools.product(options.arch, options.blurpool, options.combo_kernels):
        config = _config(arch, blur, options.batch, combo_kernels=combo == "on")
        found += trace(tracer, config, blur, options.resolution, version)
    if not all(step.graphs for step in found):
        raise UserError(
            f"torch {version} can't be traced here without a GPU: use the environment of requirements/rehearsal.txt"
        )
    print("\n".join(step_lines(found)), flush=True)
    problems = [problem for step in found for problem in ([*faults(step), *_grown(step, known, options)])]
    print("\n".join(f"GREW: {problem}" for problem in problems) or f"torch {version}: nothing grew")
    if options.write:
        write_steps(
            [*(step for step in known if step.case not in {one.case for one in found}), *found], options.table
        )
    return 1 if problems else 0


def trace(
    tracer: Tracer, config: TrainConfig, blur: str, sides: Sequence[int], version: str
) -> list[TracedStep]:
    """One recipe's step, with one kind of BlurPool, compiled for each resolution in turn."""
    found = tracer.resolutions(config, sides, config.training.batch_size)
    return [
        traced_step(graphs, breaks, config, blur, side, version) for side, (graphs, breaks) in found.items()
    ]


def traced_step(
    graphs: Sequence[Graph], breaks: int, config: TrainConfig, blur: str, side: int, version: str
) -> TracedStep:
    """The graphs of a resolution as a row of the table, per image."""
    batch = config.training.batch_size
    products = Counter(
        (one.kind, round(one.flops / batch / 1e9, 6), round(one.bytes / batch / 1e6, 4))
        for graph in graphs
        for one in graph.products
    )

    def sums(name: str, unit: float) -> tuple[float, float]:
        forward, backward = (
            sum(getattr(graph, name) for graph in graphs if graph.backward is which) / unit
            for which in (False, True)
        )
        return round(forward, 3), round(backward, 3)

    forward, backward = sums("launches", 1)
    return TracedStep(
        network=config.model.arch,
        blurpool=blur,
        combo_kernels=config.training.combo_kernels,
        side=side,
        batch=batch,
        torch=version,
        graphs=len(graphs),
        breaks=breaks,
        launches=(int(forward), int(backward)),
        triton_mb=sums("triton_bytes", 1e6 * batch),
        other_mb=sums("other_bytes", 1e6 * batch),
        products=tuple((kind, count, flops, size) for (kind, flops, size), count in products.items()),
    )


def faults(step: TracedStep) -> list[str]:
    """What no step may have, whatever the table says."""
    found = [f"{step.title}: {step.breaks} graph breaks"] if step.breaks else []
    if step.graphs != 2:
        found.append(
            f"{step.title}: {step.graphs} graphs compiled where one forward and one backward should be"
        )
    return found


def grown(step: TracedStep, table: TracedStep) -> list[str]:
    """In what a step exceeds the table's."""
    same = step.torch == table.torch
    found = []
    for name, unit in (("launches", ""), ("triton_mb", " MB/image"), ("other_mb", " MB/image")):
        slack = (0.0 if name == "launches" else SLACK) if same else OTHER_SLACK
        for part, now, before in zip(
            ("forward", "backward"), getattr(step, name), getattr(table, name), strict=True
        ):
            if now > before * (1 + slack):
                found.append(
                    f"{step.title}, {part}: {name.removesuffix('_mb')} {now:g}{unit}, the table has {before:g}"
                )
    return found


def _grown(step: TracedStep, known: Sequence[TracedStep], options: argparse.Namespace) -> list[str]:
    if not options.check:
        return []
    table = [one for one in known if one.case == step.case]
    return grown(step, table[0]) if table else [f"{step.title}: not in the table: record it with --write"]


def _config(arch: str, blur: str, batch: int, *, combo_kernels: bool = False) -> TrainConfig:
    options = {
        "training.use_blurpool": "false" if blur == "off" else "true",
        "training.precision": "bf16",
        "training.compile": "on",
        "training.combo_kernels": "true" if combo_kernels else "false",
    }
    if blur == "triton":
        options["training.blur_kernel"] = "triton"
    return step_config(arch, batch, options)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("trace", __doc__)
    add = parser.add_argument
    kinds = opt.list_of(opt.one_of("off", "convolution", "triton"))
    add(
        "--arch",
        type=opt.list_of(str),
        default=["resnet50"],
        help="networks, as model.arch (default: resnet50)",
    )
    add(
        "--blurpool",
        type=kinds,
        default=["off", "convolution"],
        help="and what computes it (default: off,convolution)",
    )
    add(
        "--combo-kernels",
        type=opt.list_of(opt.one_of("off", "on")),
        default=["off"],
        help="training.combo_kernels (default: off)",
    )
    add(
        "--resolution",
        type=opt.list_of(opt.whole(32, 1024)),
        default=[128, 224],
        help="pixels (default: 128,224)",
    )
    add("--batch", type=opt.whole(2, 4096), default=128, help="images in a batch (default: 128)")
    add("--check", action="store_true", help="compare with the table; exit code 1 where anything grew")
    add("--write", action="store_true", help="put the cases that were traced into the table")
    add("--table", type=Path, default=TABLE, help="the table (default: the committed one)")
    options = parser.parse_args(argv)
    if options.check and options.write:
        raise UserError("--check compares with the table and --write changes it: drop one")
    return options
