"""Shears, shifts and rotations of a batch, each sample by an own matrix, all in one bilinear sampling."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from engine.train.augment.augmentation import upload

GEOMETRIC = ("shear-x", "shear-y", "translate-x", "translate-y", "rotate")


def inverse_matrices(name: str, values: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Where each pixel comes from, (n, 2, 3): x and y from (x, y, 1), in pixels from the image's centre.

    `values` (n,): shears (the upper left corner stays, as in AutoAugment's code), pixels or degrees
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
    """Images (n, 3, height, width) sampled where `inverse` (n, 2, 3) says; outside lies the colour `fill` (3, 1, 1)."""
    height, width = images.shape[2:]
    # affine_grid's coordinates go from -1 to 1 along each side.
    theta = inverse * np.array([[[1, height / width, 2 / width], [width / height, 1, 2 / height]]])
    grid = functional.affine_grid(
        upload(theta.astype(np.float32), images.device), list(images.shape), align_corners=False
    )
    # Outside, sampling gives 0; so the fill becomes 0 for as long.
    return functional.grid_sample(images - fill, grid, align_corners=False) + fill
