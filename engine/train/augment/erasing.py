"""Random erasing (Zhong et al. 2017), with torchvision's law for the rectangle."""

import numpy as np
import torch
from numpy.typing import NDArray

from engine.config.train.augmentation import AugmentationConfig
from engine.data.sampling.rng import sample_keys, uniforms
from engine.train.augment.augmentation import Augmentation, Draws, upload

_MIN_SHARE, _MAX_SHARE = 0.02, 1 / 3
_MAX_ASPECT = 1 / 0.3
_ATTEMPTS = 10
# Noise is cut out of a field of this many pixels a side, at a random place for each sample: drawing a normal number
# for each pixel would take longer than everything else here.
_FIELD = 256


def rectangles(draws: Draws, probability: float, height: int, width: int) -> NDArray[np.int64]:
    """The erased rectangle of each image, int64 (n, 4): top, left, height, width in pixels; height 0 = none.

    Its area is uniform in 2% to 33% of the image's, its aspect ratio log-uniform in 0.3 to 1 / 0.3; a rectangle that
    does not fit is drawn again, at most ten times (torchvision.transforms.RandomErasing, timm).
    """
    drawn = draws.uniform("erasing", 1 + 4 * _ATTEMPTS)
    tries = drawn[:, 1:].reshape(-1, _ATTEMPTS, 4)
    area = height * width * (_MIN_SHARE + (_MAX_SHARE - _MIN_SHARE) * tries[:, :, 0])
    aspect = np.exp(np.log(_MAX_ASPECT) * (2 * tries[:, :, 1] - 1))
    heights, widths = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (heights < height) & (widths < width)
    rows, first = np.arange(len(drawn)), fits.argmax(1)
    boxes = np.stack(
        [
            tries[:, :, 2] * (height - heights + 1),
            tries[:, :, 3] * (width - widths + 1),
            heights,
            widths,
        ],
        axis=2,
    )[rows, first].astype(np.int64)
    boxes[(drawn[:, 0] >= probability) | ~fits[rows, first]] = 0
    return boxes


def inside(boxes: NDArray[np.int64], height: int, width: int, device: torch.device) -> torch.Tensor:
    """Whether a pixel is in its image's box (top, left, height, width): bool (n, 1, height, width), on the device."""
    corner = upload(boxes, device)[:, :, None]
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    in_rows = (y >= corner[:, 0]) & (y < corner[:, 0] + corner[:, 2])
    in_columns = (x >= corner[:, 1]) & (x < corner[:, 1] + corner[:, 3])
    return in_rows[:, None, :, None] & in_columns[:, None, None, :]


class Erasing:
    """Fills a rectangle of a normalised image with 0, the mean colour, or with normal noise."""

    on_levels = False

    def __init__(self, probability: float, *, noise: bool) -> None:
        self._probability = probability
        self._field = _noise_field() if noise else None

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = images.shape[2:]
        boxes = rectangles(draws, self._probability, height, width)
        chosen = np.flatnonzero(boxes[:, 2])
        if not len(chosen):
            return images, targets
        rows = upload(chosen, images.device)
        erased = images.index_select(0, rows)
        mask = inside(boxes[chosen], height, width, images.device)
        fill = self._noise(draws, chosen, images) if self._field is not None else torch.zeros_like(erased)
        images.index_copy_(0, rows, torch.where(mask, fill, erased))
        return images, targets

    def _noise(self, draws: Draws, chosen: NDArray[np.int64], images: torch.Tensor) -> torch.Tensor:
        assert self._field is not None
        self._field = self._field.to(images.device)
        height, width = images.shape[2:]
        places = (draws.uniform("erasing-noise", 2)[chosen] * _FIELD).astype(np.int64)
        place = upload(places, images.device)[:, :, None]
        y = (place[:, 0] + torch.arange(height, device=images.device)) % _FIELD
        x = (place[:, 1] + torch.arange(width, device=images.device)) % _FIELD
        return self._field[:, y[:, :, None], x[:, None, :]].transpose(0, 1)


def _noise_field() -> torch.Tensor:
    """Fixed normal random numbers, float32 (3, _FIELD, _FIELD)."""
    # Not at the top: every run imports this module, and few need scipy.
    from scipy.special import ndtri

    keys = sample_keys(np.arange(3 * _FIELD), 0, 0, 0)
    normal = ndtri(np.maximum(uniforms(keys, _FIELD), 2.0**-54))
    return torch.from_numpy(normal.astype(np.float32).reshape(3, _FIELD, _FIELD))


def erasing(law: AugmentationConfig, num_classes: int) -> Augmentation | None:
    """On if the probability is above 0."""
    if not law.erasing_probability:
        return None
    return Erasing(law.erasing_probability, noise=law.erasing_fill == "noise")
