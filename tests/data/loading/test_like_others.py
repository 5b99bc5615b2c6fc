"""Whole batches held to what others make of the same images: Pillow from the folders, and stock ffcv's own Loader."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from engine.data.loading.loader import MEAN, STD
from engine.data.sampling.crops import CenterCrop
from engine.data.sampling.order import validation_batches
from tests.data.betons import write_pixels
from tests.data.conftest import photo
from tests.data.loaders import load


def _as_levels(images: torch.Tensor) -> NDArray[np.uint8]:
    """Normalised NCHW images as the uint8 NHWC pixels that they were."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    levels = (images * std + mean).permute(0, 2, 3, 1)
    assert (levels - levels.round()).abs().max() < 1e-3
    return levels.round().to(torch.uint8).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["cpu", "packed"])
def test_cifar_10_pixels_equal_its_image_files(cifar10: Path, tmp_path: Path, decoder: str) -> None:
    source = SourceConfig(path=str(cifar10), val_folder="test")
    output = OutputConfig(folder=str(tmp_path), format="raw", num_workers=1, page_size=2)
    paths = convert(WriteConfig(source=source, output=output))
    for path, folder in ((paths["train"], "train"), (paths["val"], "test")):
        beton = open_beton(path)
        assert beton.manifest is not None and beton.num_samples >= 200
        ids = validation_batches(beton.num_samples, batch=50, rank=0, world=1)
        law = CenterCrop(ratio=1.0)
        for batch in load(beton, ids, resolution=32, law=law, workers=2, decoder=decoder):
            names = [beton.manifest.ids[sample] for sample in batch.ids]
            expected = [np.asarray(Image.open(cifar10 / folder / name).convert("RGB")) for name in names]
            np.testing.assert_array_equal(_as_levels(batch.images), np.stack(expected))
            classes = [beton.manifest.classes[label] for label in batch.labels.tolist()]
            assert classes == [name.split("/")[0] for name in names]


# Without any code of ours: loads a file with stock ffcv's own Loader and keeps what it gives.
_STOCK = """
import sys
import numpy as np
from ffcv.fields.basics import IntDecoder
from ffcv.fields.rgb_image import CenterCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption

pipelines = {"image": [CenterCropRGBImageDecoder((48, 48), 224 / 256)], "label": [IntDecoder()]}
loader = Loader(
    sys.argv[1], batch_size=5, num_workers=1, os_cache=True, order=OrderOption.SEQUENTIAL,
    pipelines=pipelines, drop_last=False,
)
batches = [(images.copy(), labels.copy()) for images, labels in loader]
images, labels = (np.concatenate(parts) for parts in zip(*batches))
np.savez(sys.argv[2], images=images, labels=labels[:, 0])
"""


@pytest.mark.slow
def test_stock_ffcv_loader_gives_the_same_pixels(tmp_path: Path) -> None:
    # Crops of exactly 48 x 48, since stock ffcv's area resize and our triangle differ in how they resize.
    sizes = [(55, 55), (55, 96), (96, 55), (55, 128), (160, 55)]
    pictures = [photo(*size, seed=number) for number, size in enumerate(sizes * 2)]
    path = write_pixels(tmp_path, pictures, "raw")
    done = subprocess.run(
        [sys.executable, "-c", _STOCK, str(path), str(tmp_path / "stock.npz")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stock = np.load(tmp_path / "stock.npz")
    ids = validation_batches(len(pictures), batch=5, rank=0, world=1)
    ours = load(open_beton(path), ids, resolution=48, law=CenterCrop(ratio=224 / 256))
    np.testing.assert_array_equal(
        np.concatenate([_as_levels(batch.images) for batch in ours]), stock["images"]
    )
    np.testing.assert_array_equal(torch.cat([batch.labels for batch in ours]).numpy(), stock["labels"])
