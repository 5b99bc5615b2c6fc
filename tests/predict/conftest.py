"""Tiny networks with random weights as runs and as files: predictions need no training."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.files import atomic_write
from engine.models.build import build_model
from engine.runs.folder import WEIGHTS
from engine.runs.model_card import CARD_SCHEMA, ModelCard, Preprocessing
from engine.train.checkpoints.run_weights import save_model, save_weights

CLASSES = ["cat", "dog", "eel"]
SIDE = 32


def card(
    classes: list[str] | None = None,
    *,
    arch: str = "small_resnet",
    blurs: bool = True,
    side: int = SIDE,
    crop_law: str = "fused",
    exif: str | None = None,
) -> ModelCard:
    """Of a network for these classes."""
    named = CLASSES if classes is None else classes
    return ModelCard(
        schema=CARD_SCHEMA,
        arch=arch,
        num_classes=len(named),
        classes=named,
        use_blurpool=blurs,
        averaged=False,
        preprocessing=Preprocessing(
            resolution=side,
            ratio=0.875,
            crop_law=crop_law,
            mean=[0.485, 0.456, 0.406],
            std=[0.229, 0.224, 0.225],
            exif=exif,
        ),
        accuracies=[],
        run="tiny",
    )


def save_run(folder: Path, of: ModelCard, seed: int = 0) -> Path:
    """A run's folder with random weights: weights.pt and model.safetensors."""
    torch.manual_seed(seed)
    model = build_model(of.arch, of.num_classes, use_blurpool=of.use_blurpool)
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder / WEIGHTS, model, of)
    save_model(folder, model, of)
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three classes at 32 px, with BlurPool."""
    return save_run(tmp_path_factory.mktemp("tiny"), card())


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a file of a smooth random picture: picture(name, width, height, **options of Pillow's save)."""
    folder = tmp_path_factory.mktemp("pictures")

    def make(name: str, width: int = 61, height: int = 47, mode: str = "RGB", **options: object) -> Path:
        draw = np.random.default_rng(width * 1000 + height)
        small = Image.fromarray(draw.integers(0, 256, (5, 6, 3), np.uint8))
        image = small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)
        with atomic_write(folder / name) as file:
            image.save(file, format=options.pop("format", None) or _FORMATS[Path(name).suffix], **options)  # type: ignore[arg-type]
        return folder / name

    return make


_FORMATS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".bmp": "BMP", ".gif": "GIF"}
