"""Shears, shifts and rotations of a batch: a matrix for each sample, one bilinear sampling for all."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from engine.train.augment.augmentation import upload

GEOMETRIC = ("shear-x", "shear-y", "translate-x", "translate-y", "rotate")


def inverse_matrices(name: str, values: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Matrices float64 (n, 2, 3) from a pixel to its source: (x, y, 1) -> (x, y), in pixels from the image's centre.

    `values` (n,) are shears (the upper left corner is fixed, as in AutoAugment's code), pixels, or degrees
    (counter-clockwise).
    """
    matrices = np.tile(np.array([[1.0, 0, 0], [0, 1, 0]]), (len(values), 1, 1))
    if name == "shear-x":
        matrices[:, 0, 1] = values
        matrices[:, 0, 2] = values * height / 2
    elif name == "shear-y":
        matrices[:, 1, 0] = values
        matrices[:, 1, 2] = values * width / 2
    elif name == "translate-x":
        matrices[:, 0, 2] = -values
    elif name == "translate-y":
        matrices[:, 1, 2] = -values
    else:
        cosine, sine = np.cos(np.radians(values)), np.sin(np.radians(values))
        matrices[:, 0, 0] = matrices[:, 1, 1] = cosine
        matrices[:, 0, 1], matrices[:, 1, 0] = -sine, sine
    return matrices


def warp(images: torch.Tensor, inverse: NDArray[np.float64], fill: torch.Tensor) -> torch.Tensor:
    """Images (n, 3, height, width) sampled at `inverse` (n, 2, 3); `fill` (3, 1, 1) is the colour outside."""
    height, width = images.shape[2:]
    # affine_grid's coordinates go from -1 to 1 along each side.
    theta = inverse * np.array([[[1, height / width, 2 / width], [width / height, 1, 2 / height]]])
    grid = functional.affine_grid(
        upload(theta.astype(np.float32), images.device), list(images.shape), align_corners=False
    )
    # Sampling gives 0 outside, so the fill colour is subtracted before and added after.
    return functional.grid_sample(images - fill, grid, align_corners=False) + fill
