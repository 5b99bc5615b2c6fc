"""torch.compile, once per resolution: on random images before they are needed, with a message, and timed separately.

What was compiled is kept in the user's cache (TORCHINDUCTOR_CACHE_DIR if set): a resumed run finds it there.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from engine.devices import is_cuda, synchronize
from engine.files import library_cache
from engine.train.ranks.group import Ranks
from engine.train.step.precision import Precision
from engine.triton_support import keep_compiled_kernels

_CACHE = "TORCHINDUCTOR_CACHE_DIR"

# Forms of one network that are kept. torch's own 8 are few for progressive resolutions, twice with SAM. Nothing is
# thrown away between them: that would throw away what validation uses, too.
_MOST_FORMS = 128

# Processes that compile kernels: torch's own bound.
_MOST_COMPILERS = 32

Forward = Callable[[torch.Tensor], torch.Tensor]


def compiles(wanted: str, device: torch.device) -> bool:
    """Whether a network on `device` is to be compiled, by training.compile."""
    return wanted == "on" or (wanted == "auto" and is_cuda(device))


class CompiledForward:
    """`model`'s forward pass in training, compiled for batches of one shape at a time; other shapes run uncompiled.

    `variations` gives contexts in which the pass differs and has to be compiled as well (SAM's second pass).
    `combo_kernels`: inductor joins small kernels that do not depend on each other.
    """

    def __init__(
        self,
        model: nn.Module,
        ranks: Ranks,
        precision: Precision,
        *,
        channels_last: bool,
        variations: Callable[[], list[AbstractContextManager[None]]],
        combo_kernels: bool = False,
    ) -> None:
        self.model, self.ranks, self.precision, self.variations = model, ranks, precision, variations
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self._options: dict[str, Any] | None = {"combo_kernels": True} if combo_kernels else None
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

        All ranks call it alike. Without a working compiler on one of them it prints a note, and training runs
        uncompiled. Weights and statistics don't change.
        """
        if not self._works or self._shape == (count, side):
            return 0.0
        begin = time.perf_counter()
        self._works = compile_in_turns(
            self.ranks,
            lambda: self._compile(count, side),
            f"compiling for {count} images of {side} px on each device",
            "training without it",
        )
        if not self._works:
            self._compiled = self.model
        self._shape = (count, side)
        return time.perf_counter() - begin

    def _compile(self, count: int, side: int) -> str:
        """Compile on this rank; returns why it did not work, empty where it did."""
        return reason_of_failure(lambda: self._warm_up(count, side))

    def _warm_up(self, count: int, side: int) -> None:
        if self._compiled is self.model:
            self._compiled = torch.compile(self.model, dynamic=False, options=self._options)
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
        synchronize(self.ranks.device)


def compile_in_turns(ranks: Ranks, attempt: Callable[[], str], begins: str, instead: str) -> bool:
    """Compile by `attempt`, first on one rank of each host; returns whether it worked on all of them.

    `attempt` returns why it did not work on this rank, empty where it did. Rank 0 prints `begins`, and then the seconds
    that it took, or a note with the reason and what happens `instead`. All ranks have to call this together.
    """
    begin = time.perf_counter()
    _keep_on_disk()
    # torch reads it once, and takes a process for each core that exists, whatever a container's quota is.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(min(_MOST_COMPILERS, ranks.cores())))
    first = ranks.local_rank == 0
    _tell(ranks, begins)
    # One rank of a host makes the code, and the others find it in the cache. No rank goes on without the others: a
    # compiler may be missing on one host only.
    reasons: list[str] = []
    for turn in (first, not first):
        problem = attempt() if turn and not reasons else ""
        reasons += [reason for reason in ranks.all_say(problem) if reason]
    if reasons:
        _tell(ranks, f"note: training.compile does not work here ({reasons[0]}): {instead}")
    else:
        _tell(ranks, f"compiled in {time.perf_counter() - begin:.1f} s")
    return not reasons


def reason_of_failure(warm_up: Callable[[], None]) -> str:
    """Why `warm_up`, which calls something compiled, found no working compiler; empty where it did."""
    with _without_torch_warnings():
        # Imported here because it takes long.
        from torch._dynamo import config
        from torch._dynamo.exc import TorchDynamoException

        config.recompile_limit = _MOST_FORMS
        try:
            warm_up()
        except TorchDynamoException as error:
            return str(error).splitlines()[0]
    return ""


def _tell(ranks: Ranks, line: str) -> None:
    if ranks.main:
        # Above the progress bar, if there is one.
        tqdm.write(line)


def _keep_on_disk() -> None:
    """Have torch keep what it compiles in the user's cache: its own choice, the temporary folder, may not last."""
    keep_compiled_kernels()
    # Otherwise torch names a folder by the user, who may have no name in a container.
    if folder := library_cache("inductor"):
        os.environ.setdefault(_CACHE, str(folder))


@contextmanager
def _without_torch_warnings() -> Iterator[None]:
    """Drop torch's warnings about its own modules, and about TF32, which is the recipe's choice (training.tf32)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated")
        warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")
        yield
