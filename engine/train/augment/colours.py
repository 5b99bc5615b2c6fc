"""Operations on pixel values, for a batch in levels of 0..255, with a value for each sample.

Each takes images, float32 (n, 3, height, width), and values (n, 1, 1, 1), and returns new images in 0..255. Formulas
are those of torchvision.transforms.v2.functional and Pillow. Those round to whole levels after each operation; here
only operations on whole levels (posterize, equalize) do, so results differ by at most one level (saturation: two).
"""

from collections.abc import Callable

import torch
from torch.nn import functional

Colour = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# ITU-R 601-2 luma, as in torchvision and Pillow.
_LUMA = (0.2989, 0.587, 0.114)


def brightness(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blended with black."""
    return (images * factors).clamp_(0, 255)


def saturation(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blended with the grey image."""
    return _blend(images, _gray(images), factors)


def contrast(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blended with the mean of the grey image."""
    return _blend(images, _gray(images).floor_().mean((1, 2, 3), keepdim=True), factors)


def sharpness(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blended with a smoothed image, whose border pixels are unchanged."""
    kernel = torch.ones(3, 1, 3, 3, device=images.device)
    kernel[:, :, 1, 1] = 5
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = functional.conv2d(images, kernel / 13, groups=3).round_()
    return _blend(images, smooth, factors)


def hue(images: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Hue shifted by `shifts` of the colour circle, in HSV (Smith 1978)."""
    red, green, blue = images.unbind(1)
    value, lowest = images.amax(1), images.amin(1)
    chroma = value - lowest
    safe = chroma.clamp_min(1e-6)
    sixths = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    turned = sixths + 6 * shifts[:, 0]
    # Travis' form: each channel is the value minus a trapezium of the hue, at a different offset.
    offsets = torch.stack([turned + 5, turned + 3, turned + 1], 1) % 6
    distance = torch.minimum(offsets, 4 - offsets).clamp_(0, 1)
    return value[:, None] - chroma[:, None] * distance


def posterize(images: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Keeps the highest `bits` bits of each level."""
    step = torch.exp2(8 - bits)
    return (images.round() / step).floor_() * step


def solarize(images: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """Levels from the threshold on are inverted."""
    return torch.where(images >= thresholds, 255 - images, images)


def solarize_add(images: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """Levels below 128 grow by `added` (timm)."""
    return torch.where(images < 128, (images + added).clamp_max(255), images)


def invert(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Inverts each level; `values` is not used, as in the two below."""
    return 255 - images


def autocontrast(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Stretches each channel to 0..255, unless it has a single level."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    # Levels come from normalised pixels, so equal ones may differ in the last digits.
    flat = high - low < 0.5
    scale = 255 / torch.where(flat, 255, high - low)
    return ((images - torch.where(flat, 0, low)) * scale).clamp_(0, 255)


def equalize(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Flattens each channel's histogram (Pillow's ImageOps.equalize)."""
    count, _, height, width = images.shape
    levels = images.round().clamp_(0, 255).to(torch.int64).reshape(count * 3, height * width)
    histogram = torch.zeros(count * 3, 256, dtype=torch.int64, device=images.device)
    # Not bincount, which makes the host wait for the device.
    histogram.scatter_add_(1, levels, torch.ones_like(levels))
    total = histogram.cumsum(1)
    # The last level in use is excluded; its cumulative sum is the first that reaches the total.
    last = histogram.gather(1, (total == height * width).to(torch.uint8).argmax(1, keepdim=True))
    step = (height * width - last) // 255
    table = ((step // 2 + total - histogram) // step.clamp_min(1)).clamp_max_(255)
    table = torch.where(step == 0, torch.arange(256, device=images.device), table)
    return table.gather(1, levels).to(images.dtype).reshape(images.shape)


def _blend(images: torch.Tensor, other: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    return torch.lerp(other.expand_as(images), images, factors).clamp_(0, 255)


def _gray(images: torch.Tensor) -> torch.Tensor:
    red, green, blue = images.split(1, dim=1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


COLOURS: dict[str, Colour] = {
    "brightness": brightness,
    "saturation": saturation,
    "contrast": contrast,
    "sharpness": sharpness,
    "hue": hue,
    "posterize": posterize,
    "solarize": solarize,
    "solarize-add": solarize_add,
    "invert": invert,
    "autocontrast": autocontrast,
    "equalize": equalize,
}
