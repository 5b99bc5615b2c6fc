"""Run under torchrun by test_residence.py: train_imagenet.py on devices that pretend to have so much memory for data.

Arguments: the bytes that are free on the last rank (others have twice as much), then the options of a run.
"""

import sys

from engine.errors import run_cli
from engine.train import residence
from engine.train.ranks.group import Ranks
from train_imagenet import main


def _room(ranks: Ranks) -> tuple[int, int]:
    return _FREE * (1 if ranks.rank == ranks.world - 1 else 2), 0


if __name__ == "__main__":
    _FREE = int(sys.argv.pop(1))
    residence.room = _room
    run_cli(main, prints=False)
