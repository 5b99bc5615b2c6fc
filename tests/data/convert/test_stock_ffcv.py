"""Stock ffcv reads and loads our files, and we open its. It runs in its own process, as others run it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from engine.data.storage import JPEG
from engine.data.storage.yuv420 import encode_yuv420, fit
from engine.errors import UserError
from tests.data.betons import record

ROOT = Path(__file__).parents[3]

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

# As ffcv-imagenet's write_imagenet.py calls it, in its two ways.
for mode in ("smart", "proportion"):
    image = RGBImageField(write_mode=mode, max_resolution=20, compress_probability=0.5, jpeg_quality=90)
    writer = DatasetWriter(folder / f"imagenet-{mode}.beton", {"image": image, "label": IntField()}, num_workers=2)
    writer.from_indexed_dataset(Images([0, 1]), chunksize=5)
"""

# Stock ffcv with our field: loads FOLDER/ours-yuv420.beton in three ways, writes FOLDER/stock-yuv420.beton.
_YUV420_PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from ffcv.fields import IntField
from ffcv.loader import Loader, OrderOption
from ffcv.reader import Reader
from ffcv.writer import DatasetWriter
from engine.data.fields.yuv420 import Yuv420CenterCropDecoder, Yuv420Field, Yuv420RandomResizedCropDecoder

folder = Path(sys.argv[1])
originals = np.load(folder / "originals.npy")

class Images:
    def __len__(self): return len(originals)
    def __getitem__(self, i): return originals[i], i % 4

writer = DatasetWriter(
    folder / "stock-yuv420.beton",
    {"image": Yuv420Field(short_side=16), "label": IntField()}, num_workers=2, page_size=2**21,
)
writer.from_indexed_dataset(Images(), chunksize=5)

def load(path, images, os_cache=True):
    loader = Loader(
        str(path), batch_size=7, num_workers=2, os_cache=os_cache, order=OrderOption.SEQUENTIAL,
        custom_fields={"image": Yuv420Field}, pipelines=images, drop_last=False,
    )
    batches = [(np.array(found), np.array(labels)) for found, labels in loader]
    return [np.concatenate(parts) for parts in zip(*batches)]

found = {}
ours = folder / "ours-yuv420.beton"
for os_cache in (True, False):
    pipelines = {"image": [Yuv420CenterCropDecoder((32, 32), 1.0)]}
    found[f"whole-{os_cache}"], found[f"labels-{os_cache}"] = load(ours, pipelines, os_cache)
found["default"], _ = load(ours, {})
random = {"image": [Yuv420RandomResizedCropDecoder((32, 32), scale=(0.5, 0.6))]}
found["random"], _ = load(ours, random)
found["written"], found["written-labels"] = load(
    folder / "stock-yuv420.beton", {"image": [Yuv420CenterCropDecoder((16, 16), 1.0)]}
)
handler = Reader(folder / "stock-yuv420.beton", {"image": Yuv420Field}).handlers["image"]
found["limits"] = [handler.short_side, handler.max_resolution]
np.savez(folder / "found-yuv420.npz", **found)
"""

# Ends itself, and with it the writer's workers, when most of the images are written.
_KILLED_PROGRAM = """
import os, signal, sys, time
import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.writer import DatasetWriter

class Images:
    def __len__(self): return 400
    def __getitem__(self, i):
        if i == 390:
            time.sleep(1)
            os.killpg(0, signal.SIGKILL)
        return np.full((100, 100, 3), i, np.uint8), 1

fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
DatasetWriter(sys.argv[1], fields, num_workers=1, page_size=2**21).from_indexed_dataset(Images(), chunksize=10)
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
    for mode in ("jpeg", "raw", "yuv420"):
        output = OutputConfig(
            folder=str(folder / mode), format=mode, num_workers=1, page_size=2, order="source"
        )
        paths = convert(WriteConfig(source=SourceConfig(path=str(folder / "source")), output=output))
        paths["train"].rename(folder / f"ours-{mode}.beton")
    _run(_PROGRAM, folder)
    return folder


def _run(program: str, folder: Path) -> None:
    """Run the program on the folder, with this checkout to import from and nothing else of ours."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def stock_yuv420(stock: Path) -> Path:
    """The same folder, in which the YUV 4:2:0 program has run too."""
    _run(_YUV420_PROGRAM, stock)
    return stock


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
def test_files_of_stock_ffcv_can_be_opened(stock: Path, number: int) -> None:
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


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "storage"), [("smart", "raw"), ("proportion", "proportion")])
def test_files_of_ffcv_imagenet_can_be_opened(stock: Path, mode: str, storage: str) -> None:
    beton = open_beton(stock / f"imagenet-{mode}.beton")
    assert (beton.storage, beton.manifest, beton.checksums) == (storage, None, None)
    assert beton.labels.tolist() == [i % 4 for i in range(30)]
    assert beton.images["height"].tolist() == [min(i + 1, 20) for i in range(30)]
    assert beton.page_size == 2**23
    is_jpeg = [record(beton, sample).startswith(b"\xff\xd8") for sample in range(30)]
    np.testing.assert_array_equal(is_jpeg, beton.images["mode"] == JPEG.mode)


@pytest.mark.slow
def test_file_of_killed_stock_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "killed.beton"
    done = subprocess.run(
        [sys.executable, "-c", _KILLED_PROGRAM, str(path)],
        capture_output=True,
        timeout=120,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.stat().st_size > 2**22, "pages of images are there already"
    with pytest.raises(UserError, match="is unfinished: its conversion was interrupted"):
        open_beton(path)


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["True", "False"])
def test_stock_ffcv_loads_yuv420_with_our_field(stock_yuv420: Path, cache: str) -> None:
    found, originals = np.load(stock_yuv420 / "found-yuv420.npz"), np.load(stock_yuv420 / "originals.npy")
    assert found[f"labels-{cache}"][:, 0].tolist() == [i // 8 for i in range(20)]
    # A whole image in its own size: nothing lost but colour between neighbours, and there is none in a ramp.
    assert found[f"whole-{cache}"].shape == originals.shape
    assert np.abs(found[f"whole-{cache}"].astype(int) - originals).max() <= 1


@pytest.mark.slow
def test_all_decoders_of_our_field_agree(stock_yuv420: Path) -> None:
    found, originals = np.load(stock_yuv420 / "found-yuv420.npz"), np.load(stock_yuv420 / "originals.npy")
    assert found["default"].shape == (20, 224, 224, 3)
    centre = originals[:, 2:30, 2:30].astype(float)
    assert np.abs(found["default"].mean((1, 2)) - centre.mean((1, 2))).max() < 2
    crops = found["random"].astype(int)
    assert crops.shape == originals.shape
    spread = crops.max((1, 2)) - crops.min((1, 2))
    assert (spread < (originals.max((1, 2)).astype(int) - originals.min((1, 2))) - 15).all(), (
        "a part of the ramp"
    )
    assert len(np.unique(crops[:, 0, 0, 0] - originals[:, 0, 0, 0])) > 5, "each another one"


@pytest.mark.slow
def test_stock_ffcv_writes_yuv420_with_our_field(stock_yuv420: Path) -> None:
    found, originals = np.load(stock_yuv420 / "found-yuv420.npz"), np.load(stock_yuv420 / "originals.npy")
    assert found["limits"].tolist() == [16, 0]
    assert found["written-labels"][:, 0].tolist() == [i % 4 for i in range(20)]
    beton = open_beton(stock_yuv420 / "stock-yuv420.beton")
    assert (beton.storage, beton.manifest, beton.checksums) == ("yuv420", None, None)
    assert beton.labels.tolist() == [i % 4 for i in range(20)]
    for sample in range(20):
        shrunk = fit(originals[sample], 16, 0)
        assert record(beton, sample) == encode_yuv420(shrunk)
        assert np.abs(found["written"][sample].astype(int) - shrunk).max() <= 1
