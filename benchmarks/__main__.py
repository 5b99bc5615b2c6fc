"""`python -m benchmarks STAGE [ARGS]`: a table of stages, each imported only when it is asked for."""

import importlib
import signal
import sys

from engine.errors import UserError, run_cli
from engine.registry import nearest

# stage: (module:function, what it measures). The function takes the remaining arguments, returns the exit code.
STAGES: dict[str, tuple[str, str]] = {
    "all": ("benchmarks.bench_all:main", "a short version of each stage of throughput, and the report"),
    "accuracy": ("benchmarks.bench_accuracy:main", "what a recipe reaches, over several seeds"),
    "augment": ("benchmarks.bench_augment:main", "augmentations of a batch on the device, against others'"),
    "blurpool": ("benchmarks.bench_blurpool:main", "BlurPool fused and not, and other ways to blur"),
    "convert": ("benchmarks.bench_convert:main", "image files to a .beton"),
    "copy": ("benchmarks.bench_copy:main", "batches from the host to the GPU"),
    "decode": ("benchmarks.bench_decode:main", "records in memory to pixels, with no loader around it"),
    "gate": ("benchmarks.bench_gate:main", "short versions, held against the committed records"),
    "loader": ("benchmarks.bench_loader:main", ".beton file to ready batches, on the host or on the device"),
    "memory": ("benchmarks.bench_memory:main", "memory that a loader takes for itself"),
    "overhead": ("benchmarks.bench_overhead:main", "what the training loop costs beside its steps"),
    "read": ("benchmarks.bench_read:main", "the images' bytes from the disk or the page cache"),
    "readme": ("benchmarks.readme_section:main", "the README's figures, from the committed records"),
    "report": ("benchmarks.report.command:main", "records as one page: bars, curves, tables"),
    "resize": ("benchmarks.bench_resize:main", "packed crops to a finished batch, on the GPU alone"),
    "roofline": ("benchmarks.bench_roofline:main", "how far a step and the decoder are from the limit"),
    "startup": (
        "benchmarks.bench_startup:main",
        "seconds to the first batch: cold, second start, new resolution",
    ),
    "step": ("benchmarks.bench_step:main", "one training step on images that lie on the device"),
    "train": ("benchmarks.bench_train:main", "an epoch from the file to the updated weights"),
    "techniques": ("benchmarks.bench_techniques:main", "what each technique costs in a training step's time"),
}


def usage() -> str:
    """The stages with a line each."""
    width = max(map(len, STAGES))
    lines = [f"  {stage:<{width}}  {text}" for stage, (_, text) in STAGES.items()]
    return "\n".join(["usage: python -m benchmarks STAGE [ARGS]", "", *lines, "", "STAGE --help tells more."])


def main(arguments: list[str]) -> int:
    """Run the stage that the first argument names. Raises UserError when there is none of that name."""
    if not arguments:
        print(usage(), file=sys.stderr)
        return 2
    stage, *rest = arguments
    if stage in ("-h", "--help", "help"):
        print(usage())
        return 0
    if stage not in STAGES:
        raise UserError(f"no stage {stage!r}{nearest(stage, STAGES)}; choices: {', '.join(sorted(STAGES))}")
    module, _, function = STAGES[stage][0].partition(":")
    code = getattr(importlib.import_module(module), function)(rest)
    return int(code)


if __name__ == "__main__":
    # As Ctrl-C: what a stage has started ends with it, and its temporary folders go.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run_cli(lambda: main(sys.argv[1:]))
