"""Run under torchrun by test_distributed.py: one epoch of a network without batch statistics or dropout.

Its weights must not depend on how the global batch is split. Arguments: the options of a run, and last the file
for rank 0's weights.
"""

import sys
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from engine.config.load import load_train_config
from engine.data.beton.reader import open_beton
from engine.data.loading.loader import Loader
from engine.errors import run_cli
from engine.train.ranks.group import process_group
from engine.train.step.precision import Precision
from engine.train.trainer import Trainer


def main() -> int:
    """Train for one epoch and save the weights."""
    *argv, weights = sys.argv[1:]
    config, _ = load_train_config(argv)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 6)
    )
    with process_group("cpu") as ranks:
        beton = open_beton(Path(config.data.train_dataset))
        with Loader(beton, device=ranks.device) as loader, tqdm(disable=True) as bar:
            trainer = Trainer(config, ranks, Precision("fp32", ranks.device), loader, model, 6)
            line = trainer.train_epoch(0, bar)
            print(f"accumulation {trainer.plan(0).accumulation}, loss {line.train_loss:.9f}")
        if ranks.main:
            torch.save(model.state_dict(), weights)
        ranks.barrier()
    return 0


if __name__ == "__main__":
    run_cli(main)
