"""Classify images with the model in this folder: python example.py [IMAGE ...] [--top-k 5]"""

import argparse
import json
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

FOLDER = Path(__file__).resolve().parent


def read(source: str | Path | BinaryIO, asked: dict[str, Any]) -> NDArray[np.uint8]:
    """The pixels of an image file, RGB (height, width, 3); `asked` is the content of preprocessing.json."""
    with Image.open(source) as opened:
        opened.load()
        image: Image.Image = ImageOps.exif_transpose(opened) if asked["exif"] == "apply" else opened
        if image.mode.startswith("I"):
            # 16 bits a pixel: the upper 8 stay.
            gray = (np.clip(np.asarray(image), 0, 65535).astype(np.uint16) >> 8).astype(np.uint8)
            return np.repeat(gray[:, :, None], 3, axis=2)
        return np.asarray(image.convert("RGB"))


def prepare(pixels: NDArray[np.uint8], asked: dict[str, Any]) -> NDArray[Any]:
    """The model's input for one image (height, width, 3): a batch of one."""
    if asked["in_model"]:
        return pixels[None]
    side = asked["resolution"]
    box = crop_box(pixels.shape[0], pixels.shape[1], asked)
    image = Image.fromarray(pixels)
    if asked["crop_law"] == "fused":
        # Cut out first: the edge of the crop counts nothing beyond it.
        image, box = image.crop(box), (0.0, 0.0, box[2] - box[0], box[3] - box[1])
    levels = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box), np.float32) / 255
    mean, std = np.asarray(asked["mean"], np.float32), np.asarray(asked["std"], np.float32)
    return np.ascontiguousarray(((levels - mean) / std).transpose(2, 0, 1)[None])


def crop_box(height: int, width: int, asked: dict[str, Any]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what the model sees, in pixels and, with crop_law torchvision, fractions."""
    side, ratio, shorter = asked["resolution"], asked["ratio"], min(height, width)
    if asked["crop_law"] == "fused":
        crop = max(1, round(ratio * shorter))
        left, top = (width - crop) // 2, (height - crop) // 2
        return left, top, left + crop, top + crop
    # Resize(short) and CenterCrop(side) in one step.
    short = max(side, math.floor(side / ratio + 0.5))
    starts, ends = [], []
    for length in (width, height):
        resized = math.floor(short * length / shorter)
        starts.append(round((resized - side) / 2) * length / resized)
        ends.append(min(length, starts[-1] + side * length / resized))
    return starts[0], starts[1], ends[0], ends[1]


def main() -> None:
    """Print the likeliest classes of each image: its path, then number, name and probability of each."""
    from engine.export.package_code.run_onnxruntime import load

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", type=Path, default=[FOLDER / "example.png"])
    parser.add_argument("--top-k", type=int, default=5)
    options = parser.parse_args()
    asked = json.loads((FOLDER / "preprocessing.json").read_text(encoding="utf-8"))
    labels = json.loads((FOLDER / "labels.json").read_text(encoding="utf-8"))
    run = load(FOLDER)
    for path in options.images:
        logits = run(prepare(read(path, asked), asked))[0].astype(np.float64)
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        best = np.argsort(-shares)[: options.top_k]
        print(f"{path}: " + ", ".join(f"{k} {labels[k]['name']} {shares[k]:.4f}" for k in best))


if __name__ == "__main__":
    main()
