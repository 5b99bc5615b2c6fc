"""Stock ffcv reads and loads our files, and we open its. It runs in its own process, as others run it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.config.schema import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton import open_beton
from engine.data.convert import convert

# Without any code of ours: reads FOLDER/ours-{jpeg,raw}.beton, writes FOLDER/stock-{0,1}.beton.
_PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.basics import IntDecoder
from ffcv.fields.rgb_image import CenterCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.reader import Reader
from ffcv.writer import DatasetWriter

folder = Path(sys.argv[1])
found = {}

for mode in ("jpeg", "raw"):
    path = folder / f"ours-{mode}.beton"
    reader = Reader(path)
    assert reader.field_names == ["image", "label"], reader.field_names
    found[f"{mode}-labels"] = reader.metadata["f1"]
    found[f"{mode}-sizes"] = reader.alloc_table["size"]
    for os_cache in (True, False):
        pipelines = {"image": [CenterCropRGBImageDecoder((32, 32), 1.0)], "label": [IntDecoder()]}
        loader = Loader(
            str(path), batch_size=7, num_workers=1, os_cache=os_cache, order=OrderOption.SEQUENTIAL,
            pipelines=pipelines, drop_last=False,
        )
        batches = [(images.copy(), labels.copy()) for images, labels in loader]
        found[f"{mode}-{os_cache}-images"] = np.concatenate([images for images, _ in batches])
        found[f"{mode}-{os_cache}-labels"] = np.concatenate([labels for _, labels in batches])[:, 0]
np.savez(folder / "found.npz", **found)

class Images:
    def __init__(self, order): self.order = order
    def __len__(self): return 30
    def __getitem__(self, i): return [(np.full((i + 1, 7, 3), i, np.uint8), i % 4)[k] for k in self.order]

fields = [("image", RGBImageField(write_mode="raw")), ("label", IntField())]
for number, order in enumerate(([0, 1], [1, 0])):
    writer = DatasetWriter(
        folder / f"stock-{number}.beton", dict(fields[k] for k in order), num_workers=2, page_size=2**21
    )
    writer.from_indexed_dataset(Images(order), chunksize=5)
"""


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the program has run; `originals.npy` holds what our files were written from."""
    folder = tmp_path_factory.mktemp("stock")
    ramp = np.linspace(0, 180, 32).astype(np.uint8)
    originals = np.stack([np.stack([ramp[None, :] + ramp[:, None] // 4 + i] * 3, -1) for i in range(20)])
    for i, pixels in enumerate(originals):
        for split in ("train", "val"):
            _write_png(folder / f"source/{split}/class{i // 8}/{i:02d}.png", pixels)
    np.save(folder / "originals.npy", originals)
    for mode in ("jpeg", "raw"):
        output = OutputConfig(folder=str(folder / mode), format=mode, num_workers=1, page_size=2)
        paths = convert(WriteConfig(source=SourceConfig(path=str(folder / "source")), output=output))
        paths["train"].rename(folder / f"ours-{mode}.beton")
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["jpeg", "raw"])
def test_stock_ffcv_reads_our_files(stock: Path, mode: str) -> None:
    found, ours = np.load(stock / "found.npz"), open_beton(stock / f"ours-{mode}.beton")
    np.testing.assert_array_equal(found[f"{mode}-labels"], ours.labels)
    np.testing.assert_array_equal(found[f"{mode}-sizes"], ours.sizes)


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["True", "False"])
@pytest.mark.parametrize("mode", ["jpeg", "raw"])
def test_stock_ffcv_loads_our_files(stock: Path, mode: str, cache: str) -> None:
    found, originals = np.load(stock / "found.npz"), np.load(stock / "originals.npy")
    np.testing.assert_array_equal(found[f"{mode}-{cache}-labels"], [i // 8 for i in range(20)])
    images = found[f"{mode}-{cache}-images"]
    assert images.shape == originals.shape
    error = np.abs(images.astype(int) - originals)
    assert error.max() <= (0 if mode == "raw" else 6)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1], ids=["image first", "label first"])
def test_files_of_stock_ffcv_open(stock: Path, number: int) -> None:
    beton = open_beton(stock / f"stock-{number}.beton")
    assert beton.manifest is None
    assert (beton.num_samples, beton.num_classes) == (30, 4)
    assert beton.labels.tolist() == [i % 4 for i in range(30)]
    memory = beton.memory()
    for index in range(30):
        start = int(beton.images["data_ptr"][index])
        record = memory[start : start + int(beton.sizes[index])]
        assert len(record) == (index + 1) * 7 * 3
        assert (record == index).all()
