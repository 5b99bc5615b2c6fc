"""Crop, resize and normalisation as a part of the network: uint8 images of any size in, the network's input out.

The crop is that of engine/data/sampling/crops.py, the resize law that of engine/data/decode/portable_resize.py. An axis
is a matrix of the law's weights, made from the image's size, so resizing is two matrix products: operations that every
runtime has and computes alike. Runtimes' own resize operators differ in antialiasing. The price is that all pixels are
multiplied: 0.2 G multiplications for 224 px of a photo of 500 x 375, where ResNet-50 takes 4.1 G.
"""

import torch
from torch import nn

from engine.data.sampling.crops import resized_side
from engine.runs.model_card import Preprocessing


class InGraph(nn.Module):
    """uint8 images of one size (n, height, width, 3), RGB -> float32 (n, 3, resolution, resolution), normalised."""

    mean: torch.Tensor
    inverse_std: torch.Tensor

    def __init__(self, asked: Preprocessing) -> None:
        super().__init__()
        self.resolution, self.ratio = asked.resolution, asked.ratio
        self.short_side = resized_side(asked.resolution, asked.ratio)
        self.is_fused = asked.crop_law != "torchvision"
        mean, std = (255 * torch.tensor(values).reshape(3, 1, 1) for values in (asked.mean, asked.std))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("inverse_std", 1 / std, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        count, height, width = images.shape[0], images.shape[1], images.shape[2]
        sides = torch.stack([self._length(height), self._length(width)])
        starts, extents, lows, highs = self._crop(sides)
        rows = self._weights(height, starts[0], extents[0], lows[0], highs[0])
        columns = self._weights(width, starts[1], extents[1], lows[1], highs[1])
        lines = torch.matmul(rows, images.float().reshape(count, height, width * 3))
        pixels = torch.matmul(columns, lines.reshape(count, self.resolution, width, 3))
        levels = torch.clamp(torch.floor(pixels + 0.5), 0.0, 255.0)
        return (levels.permute(0, 3, 1, 2) - self.mean) * self.inverse_std

    def _length(self, side: int) -> torch.Tensor:
        """A side of the image as a number of the graph, float64."""
        return torch.scalar_tensor(side, dtype=torch.float64)

    def _crop(self, sides: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of both axes (2,): where the part that becomes the output starts, its length, and which pixels count."""
        if self.is_fused:
            side = torch.clamp(torch.round(self.ratio * sides.min()), min=1.0)
            starts, extents = torch.floor((sides - side) / 2), side.expand(2)
            return starts, extents, starts, starts + extents
        resized = torch.floor(self.short_side * sides / sides.min())
        steps = sides / resized
        starts = torch.round((resized - self.resolution) / 2) * steps
        return starts, self.resolution * steps, torch.zeros_like(sides), sides

    def _weights(
        self, length: int, start: torch.Tensor, extent: torch.Tensor, low: torch.Tensor, high: torch.Tensor
    ) -> torch.Tensor:
        """The law for an axis of `length` pixels: float32 (resolution, length), rows of sum 1."""
        step = extent / self.resolution
        support = torch.clamp(step, min=1.0)
        centres = start + (torch.arange(self.resolution, dtype=torch.float64) + 0.5) * step
        pixels = torch.arange(length, dtype=torch.float64)
        weights = torch.relu(1 - torch.abs(pixels + 0.5 - centres.unsqueeze(1)) / support)
        weights = weights * ((pixels >= low) & (pixels < high)).double()
        return (weights / weights.sum(1, keepdim=True)).float()
