"""Stock ffcv loads what merge and subset make: the same pixels and labels as from the files they were made of."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.data.edit.extract import pixels_of
from engine.data.edit.merge import merge
from engine.data.edit.subset import Choice, subset
from engine.data.storage import JPEG
from tests.data.betons import record
from tests.data.made import make

# Without any code of ours.
_PROGRAM = """
import sys
import numpy as np
from ffcv.fields.basics import IntDecoder
from ffcv.fields.rgb_image import CenterCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption

found = {}
for number, path in enumerate(sys.argv[2:]):
    pipelines = {"image": [CenterCropRGBImageDecoder((16, 16), 1.0)], "label": [IntDecoder()]}
    loader = Loader(
        path, batch_size=4, num_workers=1, order=OrderOption.SEQUENTIAL, pipelines=pipelines, drop_last=False
    )
    batches = [(images.copy(), labels.copy()) for images, labels in loader]
    found[f"images{number}"] = np.concatenate([images for images, _ in batches])
    found[f"labels{number}"] = np.concatenate([labels for _, labels in batches])[:, 0]
np.savez(sys.argv[1], **found)
"""


@pytest.mark.slow
def test_stock_ffcv_loads_merged_and_subset_files(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw.beton", [0, 1, 2, 1, 0], side=16)
    jpeg = make(tmp_path / "jpeg.beton", [2, 2, 0], side=16, mode=JPEG.mode, first_id=5)
    merged, chosen = tmp_path / "merged.beton", tmp_path / "chosen.beton"
    merge(merged, [raw.path, jpeg.path])
    subset(chosen, merged, Choice(classes=("a", "c")))
    found_path = tmp_path / "found.npz"
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(found_path), str(merged), str(chosen)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = np.load(found_path)
    assert found["labels0"].tolist() == [0, 1, 2, 1, 0, 2, 2, 0]
    assert found["labels1"].tolist() == [0, 1, 0, 1, 1, 0]
    pixels = [
        pixels_of(beton, sample, record(beton, sample))
        for beton in (raw, jpeg)
        for sample in range(beton.num_samples)
    ]
    for images, samples in ((found["images0"], range(8)), (found["images1"], [0, 2, 4, 5, 6, 7])):
        for image, sample in zip(images, samples, strict=True):
            # Raw pixels are the same. Of a JPEG, here of noise, each decoder has its own last levels.
            tolerance = 0 if sample < 5 else 12
            assert np.abs(image.astype(int) - pixels[sample]).max() <= tolerance
