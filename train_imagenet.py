"""Train an image classifier: `python train_imagenet.py -C rn50_configs/rn50_16_epochs.yaml --data.train_dataset=...`.

Alone or under torchrun, on GPUs or on the CPU; --help lists every option.
"""

import sys

from engine.config.load import load_train_config
from engine.errors import run_cli


def main() -> int:
    """Parse, build, run, close; returns the exit code (0 done, 1 target missed, 2 bad input)."""
    config, recipe = load_train_config(sys.argv[1:])
    # Torch takes seconds to import: --help and a mistyped option should not wait for it.
    from engine.report.record import RunRecord
    from engine.train.distributed import process_group
    from engine.train.run import Run

    with (
        process_group(config.training.device) as ranks,
        Run(config, ranks) as run,
        RunRecord.open(config, recipe, writes=ranks.main) as record,
    ):
        return run.execute(record)


if __name__ == "__main__":
    run_cli(main)
