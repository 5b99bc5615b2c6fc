"""Every recipe on the shelf loads, builds its network and takes steps at its own resolutions, on tiny real data."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tqdm import tqdm

from engine.config.load import load_train_config
from engine.config.schema import TrainConfig
from engine.train.distributed import process_group
from engine.train.resolution import resolution_at
from engine.train.run import Run
from tests.shapes import write_betons

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(path.relative_to(ROOT) for path in ROOT.glob("*_configs/*.yaml"))
FULL = [path for path in RECIPES if path.name != "base.yaml"]

# ffcv-imagenet's README: top-1 with TTA, minutes; and its YAML files: first epoch of the ramp, last of it.
PUBLISHED = {
    "rn50_16_epochs": (0.738, 14.9, 11, 13),
    "rn50_24_epochs": (0.756, 21.7, 17, 20),
    "rn50_32_epochs": (0.766, 28.7, 23, 27),
    "rn50_40_epochs": (0.772, 35.6, 29, 34),
    "rn50_56_epochs": (0.780, 49.4, 41, 48),
    "rn50_88_epochs": (0.784, 77.2, 65, 76),
    "rn18_16_epochs": (0.669, 35.0, 11, 13),
    "rn18_24_epochs": (0.688, 51.6, 17, 20),
    "rn18_32_epochs": (0.700, 68.9, 23, 27),
    "rn18_40_epochs": (0.706, 85.5, 29, 34),
    "rn18_56_epochs": (0.713, 119.4, 41, 48),
    "rn18_88_epochs": (0.724, 187.3, 65, 76),
}


@pytest.fixture(scope="module")
def betons(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_betons(tmp_path_factory.mktemp("recipes"), train=8, val=6)


def _load(recipe: Path, betons: tuple[Path, Path]) -> TrainConfig:
    data = [f"--data.train_dataset={betons[0]}", f"--data.val_dataset={betons[1]}"]
    return load_train_config(["-C", str(ROOT / recipe), *data])[0]


def test_all_of_ffcv_imagenets_schedules_are_on_the_shelf() -> None:
    assert {path.stem for path in FULL} == {*PUBLISHED, "demo"}


@pytest.mark.parametrize("recipe", FULL, ids=lambda path: path.stem)
def test_a_recipe_trains_at_its_own_resolutions(recipe: Path, betons: tuple[Path, Path]) -> None:
    config = _load(recipe, betons)
    batch = 4
    training = dataclasses.replace(config.training, batch_size=batch, device="cpu", precision="fp32")
    config = dataclasses.replace(config, training=training)
    with process_group("cpu") as ranks, Run(config, ranks) as run, tqdm(disable=True) as bar:
        assert run.trainer is not None
        before = {name: value.clone() for name, value in run.model.state_dict().items()}
        for epoch in (0, config.training.epochs - 1):
            entry = run.trainer.train_epoch(epoch, bar)
            assert entry["resolution"] == resolution_at(config.resolution, epoch, config.training.epochs)
            assert entry["images"] == 8
        assert entry["resolution"] == config.resolution.max_res
        after = run.model.state_dict()
        changed = [name for name in after if not torch.equal(before[name], after[name])]
        assert set(dict(run.model.named_parameters())) <= set(changed)
        accuracy = run.validator.accuracy(run.model)
        assert accuracy.count == 6


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_schedule_says_only_what_differs_and_what_was_published(
    name: str, betons: tuple[Path, Path]
) -> None:
    top1, minutes, start, end = PUBLISHED[name]
    path = Path(f"{name[:4]}_configs") / f"{name}.yaml"
    config = _load(path, betons)
    epochs = int(name.split("_")[1])
    assert config.training.epochs == epochs
    assert (config.reference.top1, config.reference.minutes) == (top1, minutes)
    assert config.reference.source == "ffcv-imagenet"
    assert config.resolution.start_ramp * epochs == pytest.approx(start)
    assert config.resolution.end_ramp * epochs == pytest.approx(end)
    assert len((ROOT / path).read_text().splitlines()) <= 12


def test_the_settings_are_ffcv_imagenets(betons: tuple[Path, Path]) -> None:
    big, small = (_load(Path(f"{net}_configs/{net}_16_epochs.yaml"), betons) for net in ("rn50", "rn18"))
    for config in (big, small):
        assert (config.resolution.min_res, config.resolution.max_res, config.validation.resolution) == (
            160,
            192,
            256,
        )
        assert (config.lr.lr_schedule_type, config.lr.lr_peak_epoch) == ("cyclic", 2)
        assert (config.training.momentum, config.training.label_smoothing) == (0.9, 0.1)
        assert config.training.use_blurpool and config.validation.lr_tta
    # 8 GPUs x 512, and 1 GPU x 1024
    assert (big.training.batch_size, big.lr.lr, big.training.weight_decay) == (4096, 1.7, 1e-4)
    assert (small.training.batch_size, small.lr.lr, small.training.weight_decay) == (1024, 0.5, 5e-5)


def test_the_number_of_epochs_can_be_changed_alone(betons: tuple[Path, Path]) -> None:
    data = [f"--data.train_dataset={betons[0]}", f"--data.val_dataset={betons[1]}"]
    config, _ = load_train_config(
        ["-C", str(ROOT / "rn50_configs/rn50_16_epochs.yaml"), "--training.epochs=100", *data]
    )
    resolutions = [resolution_at(config.resolution, epoch, 100) for epoch in range(100)]
    assert resolutions.count(160) > 65 and resolutions[-1] == 192
