"""ffcv-imagenet's schedules on the shelf: its settings, its figures, and nothing but what differs from one another."""

from pathlib import Path

import pytest

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.train.schedules import resolution_at

ROOT = Path(__file__).resolve().parents[1]
DATA = ["--data.train_dataset=t.beton", "--data.val_dataset=v.beton"]

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


def _load(name: str, *options: str) -> TrainConfig:
    return load_train_config(["-C", str(ROOT / _path(name)), *DATA, *options])[0]


def _path(name: str) -> Path:
    return Path(f"{name[:4]}_configs") / f"{name}.yaml"


def test_all_ffcv_imagenet_schedules_exist() -> None:
    assert {path.stem for path in ROOT.glob("rn*_configs/rn*_epochs.yaml")} == PUBLISHED.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_schedule_sets_only_epochs_and_reference(name: str) -> None:
    top1, minutes, start, end = PUBLISHED[name]
    config = _load(name)
    epochs = int(name.split("_")[1])
    assert config.training.epochs == config.reference.epochs == epochs
    assert (config.reference.top1, config.reference.minutes) == (top1, minutes)
    assert config.reference.source == "ffcv-imagenet"
    assert (config.reference.tta, config.reference.resolution) == (True, 256)
    assert config.resolution.start_ramp * epochs == pytest.approx(start)
    assert config.resolution.end_ramp * epochs == pytest.approx(end)
    assert len((ROOT / _path(name)).read_text().splitlines()) <= 12


def test_base_settings_match_ffcv_imagenet() -> None:
    big, small = (_load(f"{net}_16_epochs") for net in ("rn50", "rn18"))
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


def test_epochs_changed_alone_keeps_ramps() -> None:
    config = _load("rn50_16_epochs", "--training.epochs=100")
    resolutions = [resolution_at(config.resolution, epoch, 100) for epoch in range(100)]
    assert resolutions.count(160) > 65 and resolutions[-1] == 192
