"""The forward pass of networks in evaluation, on batches that all have one size, compiled where that pays.

A smaller batch, such as the last one, is filled up with zeros whose results are dropped: for another shape cuDNN would
search its algorithms again, and compiled code would not fit. In evaluation no image has a part in another's result.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from engine.devices import is_gpu
from engine.train.ranks.group import Ranks
from engine.train.step.compiling import Forward, compile_in_turns, reason_of_failure
from engine.train.step.precision import Precision


class EvalForward:
    """Computes logits of batches of at most `size` images; `of` gives the pass over one network.

    A network and the average of its weights are alike to the compiler, so both use the same code.
    """

    def __init__(
        self, ranks: Ranks, precision: Precision, *, size: int, compiled: bool, channels_last: bool
    ) -> None:
        self.ranks, self.precision, self.size = ranks, precision, size
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self._works = compiled
        self._sides: set[int] = set()
        self._compiled: Callable[[nn.Module, torch.Tensor], torch.Tensor] = _forward

    def of(self, model: nn.Module) -> Forward:
        """`model`'s pass: images (n, 3, side, side), n at most `size`, to logits (n, classes)."""
        return partial(self._logits, model)

    @torch.inference_mode()
    def prepare(self, model: nn.Module, side: int) -> float:
        """Compile for images of `side` pixels, if that is asked for and not done; returns the seconds it took.

        All ranks call it alike. Without a working compiler on one of them a note says so, and nothing is compiled. Puts
        the model into eval mode.
        """
        if not self._works or side in self._sides:
            return 0.0
        begin = time.perf_counter()
        images = torch.zeros(
            self.size, 3, side, side, device=self.ranks.device, dtype=self.precision.input_dtype
        ).to(memory_format=self.layout)

        def warm_up() -> None:
            if self._compiled is _forward:
                self._compiled = torch.compile(_forward, dynamic=False)
            with self.precision.autocast():
                self._compiled(model.eval(), images)

        self._works = compile_in_turns(
            self.ranks,
            partial(reason_of_failure, warm_up),
            f"compiling validation for {self.size} images of {side} px on each device",
            "validating without it",
        )
        self._sides.add(side)
        return time.perf_counter() - begin

    def _logits(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        count = len(images)
        compiled = self._works and images.shape[-1] in self._sides
        if count < self.size and (compiled or is_gpu(images.device)):
            images = functional.pad(images, (0, 0, 0, 0, 0, 0, 0, self.size - count))
        return (self._compiled if compiled else _forward)(model, images)[:count]


def _forward(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(images)
    return logits
