"""Train an image classifier: `python train_imagenet.py -C rn50_configs/rn50_16_epochs.yaml --data.train_dataset=...`.

Runs by itself or under torchrun, on GPUs or on the CPU; --help lists every option.
"""

from engine.ctrl_c import importing

with importing():
    import sys
    from typing import NoReturn

    from engine.config.load import load_train_stages
    from engine.errors import run_cli
    from engine.train.checkpoints.interruption import Interruption
    from engine.train.ranks.process import limit_spinning


def main() -> int:
    """Parse, build, run, close; returns the exit code (docs/reference/exit_codes.md)."""
    stages, recipe = load_train_stages(sys.argv[1:])
    # It acts on the import of torch, which --help and a wrong option should not wait for.
    limit_spinning()
    interruption = Interruption()
    with interruption.watching():
        with importing():
            from engine.report.run_display import RunDisplay
            from engine.train.budget.clock import process_start
            from engine.train.ranks.group import process_group
            from engine.train.recipe.recipe_run import run_recipe

        training, pin_cores = stages[0].training, stages[0].data.pin_cores
        with process_group(training.device, pin_cores=pin_cores) as ranks:
            return run_recipe(stages, recipe, ranks, RunDisplay(), interruption, process_start())


def command() -> NoReturn:
    """The program `train-imagenet` of an installed package."""
    run_cli(main, prints=False)


if __name__ == "__main__":
    command()
