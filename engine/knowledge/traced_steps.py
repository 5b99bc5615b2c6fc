"""What a compiled training step does on a GPU, traced from its code: traced_steps.json beside this file.

Made by `python -m benchmarks trace --write`; no GPU was at work. The speeds that are predicted for machines stand on it
(roofline.py).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.files import atomic_write

TABLE = Path(__file__).with_name("traced_steps.json")

Product = tuple[str, int, float, float]
"""Kind, number of them, GFLOP and MB per image of each: convolutions, their gradients, matrix products."""


@dataclass(frozen=True, kw_only=True)
class TracedStep:
    """One network at one resolution, in bf16 and channels_last. Pairs are (forward, backward)."""

    network: str
    blurpool: str
    """off, or what computes it: convolution, triton."""
    combo_kernels: bool = False
    side: int
    batch: int
    torch: str
    graphs: int
    """Compiled for the resolution, a second batch included: 2, one forward and one backward."""
    breaks: int
    """Of the graph, in forward."""
    launches: tuple[int, int]
    triton_mb: tuple[float, float]
    """MB per image that Triton's kernels read and write."""
    other_mb: tuple[float, float]
    """The same of convolutions, matrix products and our own operators."""
    products: Sequence[Product] = field(repr=False)

    @property
    def case(self) -> tuple[str, str, bool, int]:
        """What two rows of a table differ in."""
        return self.network, self.blurpool, self.combo_kernels, self.side

    @property
    def title(self) -> str:
        """The case in words."""
        joined = ", combo kernels" if self.combo_kernels else ""
        return f"{self.network}, blurpool {self.blurpool}{joined}, {self.side} px"

    @property
    def gflop(self) -> float:
        """Per image."""
        return sum(count * flops for _, count, flops, _ in self.products)


def read_steps(path: Path = TABLE) -> list[TracedStep]:
    """The steps of the table; none where there is no file."""
    if not path.is_file():
        return []
    return [_step(row) for row in json.loads(path.read_text(encoding="utf-8"))]


def write_steps(steps: Iterable[TracedStep], path: Path = TABLE) -> None:
    """The table, a step a line, in the order of their cases."""
    rows = ",\n".join(json.dumps(asdict(step)) for step in sorted(steps, key=lambda step: step.case))
    with atomic_write(path) as file:
        file.write(f"[\n{rows}\n]\n".encode())


def step_lines(steps: Iterable[TracedStep]) -> list[str]:
    """The steps as a table in Markdown."""
    lines = [
        "| network | BlurPool | combo kernels | px | graphs / breaks | launches forward / backward | MB/image "
        "| convolutions / Triton | GFLOP/image |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for step in steps:
        triton, other = sum(step.triton_mb), sum(step.other_mb)
        combo = "on" if step.combo_kernels else "off"
        lines.append(
            f"| {step.network} | {step.blurpool} | {combo} | {step.side} | {step.graphs} / {step.breaks} "
            f"| {step.launches[0]} / {step.launches[1]} | {triton + other:.1f} | {other:.1f} / {triton:.1f} "
            f"| {step.gflop:.2f} |"
        )
    return lines


def _step(row: dict[str, Any]) -> TracedStep:
    pairs = {name: tuple(row[name]) for name in ("launches", "triton_mb", "other_mb")}
    return TracedStep(**{**row, **pairs, "products": tuple(tuple(product) for product in row["products"])})
