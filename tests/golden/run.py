"""A training of 100 steps with many techniques on, 600 images of CIFAR-10, whose losses lie in losses.json.

Where a change is meant to move them, make the file anew and say in the commit what moved them:

    python -m tests.golden.run
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from tqdm import tqdm

from engine.config.load import load_train_config
from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.convert.conversion import convert
from engine.files import atomic_write
from engine.train.ranks.group import process_group
from engine.train.run import Run
from tests.conftest import ROOT, unpack_cifar10

LOSSES = Path(__file__).with_name("losses.json")

# Half of the images: 10 steps of 30 images at 16 px, twice; then 20 steps of 15 at 20 px twice, and at 24 px twice.
# Left out are what draws from torch's generator (dropout, stochastic depth), whose numbers are torch's, and the random
# operations of a policy, which jump where a pixel's level is rounded to the next one: on another CPU some do. At four
# times the rate, other instructions than this CPU's made losses differ by 0.1% to 1% after 50 steps, here by far less.
RECIPE = {
    "model.arch": "small_resnet",
    "model.zero_init_residual": True,
    "resolution.schedule": "stages",
    "resolution.stages": "16x2, 20x2, 24x2",
    "resolution.batch_sizes": "16:30",
    "lr.lr": 0.005,
    "lr.lr_schedule_type": "one-cycle",
    "lr.lr_peak_share": 0.3,
    "lr.batch_scaling": "linear",
    "data.holdout": 0.5,
    "augmentation.min_scale": 0.5,
    "augmentation.repeats": 2,
    "augmentation.brightness": 0.2,
    "augmentation.hue": 0.1,
    "augmentation.erasing_probability": 0.25,
    "augmentation.erasing_fill": "noise",
    "augmentation.colout_rows": 0.1,
    "augmentation.mixup_alpha": 0.2,
    "augmentation.cutmix_alpha": 1.0,
    "augmentation.mix_probability": 0.5,
    "training.epochs": 6,
    "training.batch_size": 15,
    "training.device_batch_size": 15,
    "training.nesterov": True,
    "training.weight_decay": 5e-4,
    "training.clip_norm": 2,
    "training.sam_rho": 0.05,
    "training.sam_interval": 5,
    "training.ema_half_life": 10,
    "training.ema_every": 2,
    "training.use_blurpool": True,
    "training.device": "cpu",
    "training.precision": "fp32",
    "validation.resolution": 24,
    "validation.ratio": 1,
    "validation.plain_resolution": 24,
}

Figures = dict[str, list[float]]


def write_betons(images: Path, folder: Path) -> None:
    """train.beton and val.beton of an image folder of CIFAR-10."""
    source = SourceConfig(path=str(images), val_folder="test")
    convert(WriteConfig(source=source, output=OutputConfig(folder=str(folder), num_workers=1)))


def figures(folder: Path, *, epochs: int = 6, **changes: object) -> Figures:
    """The loss of each step of the first `epochs`, and on val.beton the weights' and their average's after 2 and 6.

    `changes` are options such as training__seed=1.
    """
    data = {"data.train_dataset": folder / "train.beton", "data.val_dataset": folder / "val.beton"}
    other = {key.replace("__", "."): value for key, value in changes.items()}
    argv = [f"--{key}={value}" for key, value in {**RECIPE, **data, **other}.items()]
    config, _ = load_train_config(argv)
    losses: list[float] = []
    before = torch.get_num_threads()
    # Several wait for each other by spinning, for long where other programs use the machine, too.
    torch.set_num_threads(1)
    with process_group("cpu") as ranks, Run(config, ranks) as run, tqdm(disable=True) as bar:
        assert run.trainer.step.ema is not None
        take = run.trainer.step.take

        def noted(batches: object, accumulation: int, **step: object) -> tuple[torch.Tensor, torch.Tensor]:
            loss, left_out = take(batches, accumulation, **step)  # type: ignore[arg-type]
            losses.append(loss.item() / accumulation)
            return loss, left_out

        run.trainer.step.take = noted  # type: ignore[method-assign]
        validated: list[float] = []
        for epoch in range(epochs):
            run.trainer.train_epoch(epoch, bar)
            if epoch in (1, 5):
                models = (run.model, run.trainer.step.ema.model)
                validated += [run.validator.accuracy(model).loss for model in models]
    torch.set_num_threads(before)
    return {"train": losses, "val": validated}


def main() -> int:
    """Train and write losses.json."""
    archive = ROOT.parent / "shared" / "data" / "cifar10-jpeg.tgz"
    if not archive.is_file():
        print(f"error: {archive} does not exist: the golden run needs CIFAR-10", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack_cifar10(archive, folder / "images")
        write_betons(folder / "images", folder)
        found = figures(folder)
    with atomic_write(LOSSES) as file:
        file.write((json.dumps(found, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
