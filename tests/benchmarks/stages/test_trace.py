"""The trace stage: what counts as growth, the committed table, and a step traced on the table's torch."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.sides.steps.traced_step import Graph, Product
from benchmarks.stages.trace import _config, _parse, faults, grown, traced_step
from engine.errors import UserError
from engine.knowledge.traced_steps import TracedStep, read_steps, step_lines, write_steps

TRACED = read_steps()


@pytest.mark.parametrize("step", TRACED, ids=lambda step: step.title)
def test_recorded_step_is_one_graph_each_way_without_breaks(step: TracedStep) -> None:
    assert not faults(step)
    assert all(step.launches) and all(step.triton_mb) and all(step.other_mb)


def test_recorded_bytes_of_resnet50_are_as_a_second_tracer_counted() -> None:
    """Per image at 224 px without BlurPool: 110 MB in convolutions, 258 MB in Triton; 8.2 GFLOP forward."""
    step = next(one for one in TRACED if one.case == ("resnet50", "off", False, 224))
    assert sum(step.other_mb) == pytest.approx(110, rel=0.01)
    assert sum(step.triton_mb) == pytest.approx(258, rel=0.01)
    forward = sum(count * gflop for kind, count, gflop, _ in step.products if kind == "forward")
    assert forward == pytest.approx(2 * 4.089, rel=0.01)


def test_growth_is_named_with_both_numbers() -> None:
    step = TRACED[0]
    assert not grown(step, step)
    more = replace(step, launches=(step.launches[0] + 1, step.launches[1]))
    assert grown(more, step) == [
        f"{step.title}, forward: launches {step.launches[0] + 1}, the table has {step.launches[0]}"
    ]
    heavier = replace(step, triton_mb=(step.triton_mb[0], step.triton_mb[1] * 1.01))
    (line,) = grown(heavier, step)
    assert "backward: triton" in line and "MB/image, the table has" in line
    # Another torch makes other code.
    assert not grown(replace(heavier, torch="9.9"), step)
    assert grown(replace(heavier, torch="9.9", triton_mb=(step.triton_mb[0] * 1.2, 1.0)), step)


def test_breaks_and_recompiling_are_faults() -> None:
    step = TRACED[0]
    assert faults(replace(step, breaks=1)) == [f"{step.title}: 1 graph breaks"]
    assert "4 graphs compiled where one forward and one backward" in faults(replace(step, graphs=4))[0]


def test_graphs_become_a_row_per_image(tmp_path: Path) -> None:
    product = Product(kind="forward", flops=4e9, bytes=2e6)
    graphs = [
        Graph(backward=False, launches=3, triton_bytes=4e6, other_bytes=2e6, products=[product, product]),
        Graph(backward=True, launches=5, triton_bytes=8e6, other_bytes=6e6, products=[]),
    ]
    step = traced_step(graphs, 0, _config("resnet50", "off", 2), "off", 64, "2.11.0")
    assert (step.launches, step.triton_mb, step.other_mb) == ((3, 5), (2.0, 4.0), (1.0, 3.0))
    assert step.products == (("forward", 2, 2.0, 1.0),) and step.gflop == 4.0
    assert "| resnet50 | off | off | 64 | 2 / 0 | 3 / 5 | 10.0 | 4.0 / 6.0 | 4.00 |" in step_lines([step])
    write_steps([step], tmp_path / "table.json")
    assert read_steps(tmp_path / "table.json") == [step]


def test_check_and_write_together_are_refused() -> None:
    with pytest.raises(UserError, match="drop one"):
        _parse(["--check", "--write"])


@pytest.mark.slow
@pytest.mark.skipif(not torch.__version__.startswith("2.11."), reason="the table's torch is the rehearsal's")
def test_traced_step_has_not_grown() -> None:
    """In a process of its own, which takes itself for one with a GPU."""
    asked = ["--arch=resnet18", "--blurpool=convolution", "--resolution=128", "--check"]
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", "trace", *asked],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "nothing grew" in ran.stdout
