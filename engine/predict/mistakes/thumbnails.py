"""The images of a page as data URIs: small JPEGs of what the network saw, and of its Grad-CAM."""

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.data.beton.reader import Beton
from engine.data.loading.decode_pool import DecodePool
from engine.data.sampling.crops import centre_crop
from engine.limits import usable_cores
from engine.predict.grad_cam import GradCam, overlay
from engine.progress import Progress

if TYPE_CHECKING:
    from engine.predict.trained import Trained

_SIDE, _QUALITY = 192, 80
"""Pixels and JPEG quality: about 8 kB an image."""
_BATCH = 16


@dataclass(frozen=True)
class Thumbnail:
    """An image and its overlay as data URIs; `overlay` is empty without Grad-CAM."""

    image: str
    overlay: str


def thumbnails(
    trained: "Trained",
    beton: Beton,
    samples: NDArray[np.int64],
    classes: NDArray[np.int64],
    method: GradCam | None,
) -> list[Thumbnail]:
    """Of each of the samples (n,), as validation crops it; Grad-CAM is of `classes` (n,)."""
    wanted, pool, found = trained.card.preprocessing, DecodePool(beton, usable_cores()), []
    crop = centre_crop(wanted.crop_law, wanted.resolution, wanted.ratio)
    try:
        with Progress("drawing", len(samples)) as progress:
            for start in range(0, len(samples), _BATCH):
                part = slice(start, start + _BATCH)
                count = len(samples[part])
                pixels = np.zeros((count, wanted.resolution, wanted.resolution, 3), np.uint8)
                # Each of them was decoded a minute ago.
                pool.decode(samples[part], crop, pixels)
                heats = method.maps(pixels, classes[part].tolist()) if method else [None] * count
                found += [
                    Thumbnail(_uri(one), "" if heat is None else _uri(overlay(one, heat)))
                    for one, heat in zip(pixels, heats, strict=True)
                ]
                progress.update(count)
    finally:
        pool.close()
    return found


def _uri(pixels: NDArray[np.uint8]) -> str:
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    # Without subsampling of colours, which shows in small images.
    image.save(buffer, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
