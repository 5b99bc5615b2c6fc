"""docs/reference/speeds.md, made from the traced steps and the machines: `python -m engine.knowledge.speed_page`."""

from collections.abc import Sequence

from engine.knowledge.machines import find_machine, predicted_speeds, rates_of, speed_fit
from engine.knowledge.roofline import SIDES, Checked, traced_networks
from engine.knowledge.traced_steps import read_steps, step_lines

COMMAND = "python -m engine.knowledge.speed_page > docs/reference/speeds.md"

_STEP = """\
# A training step on a GPU, traced

What torch.compile makes of a network's forward and backward pass, in bf16 and channels_last, on a GPU that is faked
(`python -m benchmarks trace`): no GPU was at work. Launches are kernels and calls of libraries; bytes are those that
each reads and writes. Loss, optimizer and gradient exchange are not in it. `python -m benchmarks trace --check` fails
where launches or bytes grow, where a graph breaks, or where a resolution is compiled more than once."""

_ABOUT = """\
# Speeds predicted from published rates

Each convolution takes the longer of its FLOPs' and its bytes' time, each of Triton's kernels its bytes' time
(`engine/knowledge/roofline.py`). Two numbers are fitted, the same for all GPUs and networks: {memory:.0%} of the
memory's rate (at the limit of 100%: programs with more fused kernels move fewer bytes than the traced step) and
{tensor:.0%} of the tensor cores'. None of the published figures is ours; the programs differ, and several include
loading. MLPerf's are computed from minutes and 36 epochs (c). *Left out*: predicted from a fit without any figure of
that GPU (both A100 are one).

Errors over {count} figures, root mean square: {fitted:.0%} fitted, **{left_out:.0%} left out**. A predicted speed has
a 90% interval of ±{half:.0%}. {inside} of {count} figures lie in it. Where a GPU has published speeds (±10%) or minutes
in MLPerf (±25%), the planner takes these; else the prediction."""

_PREDICTED = """\
## Predicted

Images per second of one GPU in training with BlurPool, as our recipes have it. *Used by the planner*: what it takes
for this network."""


def page() -> str:
    """The whole page, as Markdown."""
    fitted = speed_fit()
    steps = read_steps()
    about = _ABOUT.format(
        memory=fitted.memory,
        tensor=fitted.tensor,
        count=len(fitted.checked),
        fitted=fitted.rms_fitted,
        left_out=fitted.rms,
        half=fitted.half_width,
        inside=sum(_inside(one, fitted.half_width) for one in fitted.checked),
    )
    versions = ", ".join(sorted({step.torch for step in steps}))
    parts = [
        f"<!-- Made by `{COMMAND}` from engine/knowledge/traced_steps.json and machines.yaml. -->",
        _STEP,
        f"torch {versions}, batch {steps[0].batch}.",
        "\n".join(step_lines(steps)),
        about,
        "## Published figures\n\nImages per second of one GPU.",
        _figures(fitted.checked),
        _PREDICTED,
        *(f"### {network}\n\n{_predicted(network)}" for network in reversed(traced_networks())),
    ]
    return "\n\n".join(parts) + "\n"


def _inside(one: Checked, half_width: float) -> bool:
    # The interval of a time is a share of it, as the planner has it.
    return abs(one.left_out / one.figure.speed - 1) <= half_width


def _figures(checked: Sequence[Checked]) -> str:
    rows = [
        [
            one.figure.gpu,
            one.figure.network,
            one.figure.blurpool,
            str(one.figure.side),
            f"{one.figure.speed:,.0f}",
            f"{one.fitted:,.0f} ({one.fitted / one.figure.speed - 1:+.0%})",
            f"{one.left_out:,.0f} ({one.left_out / one.figure.speed - 1:+.0%})",
            one.figure.source,
        ]
        for one in checked
    ]
    return _table(["GPU", "Network", "BlurPool", "px", "Published", "Fitted", "Left out", "Source"], rows)


def _predicted(network: str) -> str:
    rows = []
    for gpu, rates in rates_of().items():
        speeds = predicted_speeds(gpu, network)
        machine = find_machine(gpu)
        if network in machine.predicted:
            used = "this prediction"
        else:
            used = (
                "published minutes in MLPerf"
                if machine.basis.startswith("A100-40GB's speeds x")
                else "published speeds"
            )
        rows.append(
            [
                gpu,
                f"{rates.gb_per_second:,.0f}",
                f"{rates.tflops:g}",
                *(f"{speeds[side]:,.0f}" for side in SIDES),
                used,
            ]
        )
    return _table(["GPU", "GB/s", "TFLOPS", *(f"{side} px" for side in SIDES), "Used by the planner"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(page(), end="")
