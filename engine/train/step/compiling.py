"""torch.compile, once per resolution: on random images before the epoch, with a message, and timed separately."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from engine.train.ranks.group import Ranks
from engine.train.step.precision import Precision

Forward = Callable[[torch.Tensor], torch.Tensor]


class CompiledForward:
    """`model`'s forward pass in training, compiled for batches of one shape at a time; other shapes run uncompiled.

    `variations` gives contexts in which the pass differs and has to be compiled as well (SAM's second pass).
    """

    def __init__(
        self,
        model: nn.Module,
        ranks: Ranks,
        precision: Precision,
        *,
        channels_last: bool,
        variations: Callable[[], list[AbstractContextManager[None]]],
    ) -> None:
        self.model, self.ranks, self.precision, self.variations = model, ranks, precision, variations
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self._compiled: Forward = model
        self._shape: tuple[int, int] | None = None
        self._works = True

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """The logits (n, classes) of images (n, 3, side, side)."""
        # A batch without its corrupt samples is smaller: not worth compiling for.
        fits = self._shape == (len(images), images.shape[-1])
        return (self._compiled if fits else self.model)(images)

    def prepare(self, count: int, side: int) -> float:
        """Compile for batches of `count` images of `side` pixels, if not done already; returns the seconds it took.

        Without a working compiler it prints a note, and training runs uncompiled. Weights and statistics don't change.
        """
        if not self._works or self._shape == (count, side):
            return 0.0
        begin = time.perf_counter()
        with _without_torch_warnings():
            self._compile(count, side)
        self._shape = (count, side)
        seconds = time.perf_counter() - begin
        if self._works:
            self._tell(f"compiled in {seconds:.1f} s")
        return seconds

    def _compile(self, count: int, side: int) -> None:
        # Imported here because it takes long.
        from torch._dynamo.exc import TorchDynamoException

        self._tell(f"compiling for {count} images of {side} px on each device")
        # The code for the last resolution is not needed again, and torch keeps only a few shapes.
        torch.compiler.reset()
        self._compiled = torch.compile(self.model, dynamic=False)
        try:
            self._warm_up(count, side)
        except TorchDynamoException as error:
            self._compiled, self._works = self.model, False
            reason = str(error).splitlines()[0]
            self._tell(f"note: training.compile does not work here ({reason}): training without it")

    def _warm_up(self, count: int, side: int) -> None:
        buffers = list(self.model.buffers())
        before = [buffer.clone() for buffer in buffers]
        images = torch.randn(
            count, 3, side, side, device=self.ranks.device, dtype=self.precision.input_dtype
        ).to(memory_format=self.layout)
        # Ranks compile at different speeds, so nothing here may wait for another rank.
        alone = self.model.no_sync if isinstance(self.model, DistributedDataParallel) else nullcontext
        try:
            for variation in self.variations():
                with variation, alone():
                    with self.precision.autocast():
                        logits = self._compiled(images)
                    logits.float().square().mean().backward()
        finally:
            for parameter in self.model.parameters():
                parameter.grad = None
            with torch.no_grad():
                for buffer, old in zip(buffers, before, strict=True):
                    buffer.copy_(old)
        if self.ranks.device.type == "cuda":
            torch.cuda.synchronize(self.ranks.device)

    def _tell(self, line: str) -> None:
        if self.ranks.main:
            # Above the progress bar, if there is one.
            tqdm.write(line)


@contextmanager
def _without_torch_warnings() -> Iterator[None]:
    """Drop torch's warnings about its own modules, and about TF32, which is the recipe's choice (training.tf32)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated")
        warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")
        yield
