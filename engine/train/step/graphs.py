"""training.cuda_graphs: passes over a device batch, captured once, which the host then starts as a whole.

The time of small networks is that in which the host starts hundreds of kernels. Captured is one forward and backward
pass, from a batch to the gradients; the rest of a step (clipping, SAM's ascent, optimizer, scaler, average) surrounds
it as ever. So every recipe can have it, and no learning rate and no counter of the host is frozen in a graph.

A graph reads and writes fixed memory: a batch is copied to where the graph reads, and all passes, captured or not,
leave their gradients in the same tensors. There is a graph for each shape of a batch, for the first and for further
batches of a step, and for SAM's second pass. What they use in between is one pool of memory: only one runs at a time.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from engine.devices import is_cuda, of_cuda
from engine.errors import UserError
from engine.train.augment.chain import TrainBatch
from engine.train.ranks.group import Ranks

# cuDNN's search, the compiler's first calls and the allocator are through after fewer. They are steps of the run: no
# weight, statistic or random number has to be put back.
WARM_UPS = 3

Pass = Callable[[TrainBatch, int], torch.Tensor]
"""(batch, accumulation) -> loss, 0-dim, detached: adds the batch's gradients to those of the weights."""


class Recorder(Protocol):
    """What captures; the only part that needs a GPU."""

    def aside(self, work: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Do `work` where it will be captured."""
        ...

    def record(self, work: Callable[[], object]) -> Callable[[], None]:
        """Capture `work`, without doing it; returns what does it, over the same memory."""
        ...


class CudaRecorder:
    """Captures on a stream of its own of the GPU. Raises UserError for work that can't be captured."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def aside(self, work: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Do `work` on that stream, between the work before and after it."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        return result

    def record(self, work: Callable[[], object]) -> Callable[[], None]:
        """Capture `work`; other threads, such as the loader's, may go on using the GPU."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                work()
        except RuntimeError as error:
            # The end of a capture that failed has an error of its own.
            reason = str(error.__context__ or error).splitlines()[0]
            raise UserError(
                f"training.cuda_graphs: a step of this recipe can't be captured ({reason}): drop it"
            ) from error
        return graph.replay


@dataclass
class _Form:
    """Passes of one form: how often it was met, and the graph with the memory that it reads and writes."""

    met: int = 0
    batch: TrainBatch | None = None
    loss: torch.Tensor | None = None
    replay: Callable[[], None] | None = None


class GraphedPasses:
    """Does the passes `run` over `weights`, and replays those of a form that was met WARM_UPS times."""

    def __init__(self, weights: list[nn.Parameter], run: Pass, recorder: Recorder) -> None:
        self._weights, self._run, self._recorder = weights, run, recorder
        self._count = 0
        self._forms: dict[Hashable, _Form] = {}
        self._learning: list[nn.Parameter] = []
        self._gradients: list[torch.Tensor] = []

    def expect(self, count: int) -> None:
        """From here on capture batches of `count` images; others, such as one without a corrupt image, are rare."""
        self._count = count

    def __call__(self, batch: TrainBatch, accumulation: int, *, first: bool, again: bool) -> torch.Tensor:
        """One pass; returns its loss, 0-dim, to be used before the next pass.

        `first`: gradients begin with this one. `again`: SAM's second pass over the batch.
        """
        if len(batch.images) != self._count:
            return self._pass(batch, accumulation, first)
        tensors = (batch.images, batch.targets)
        form = self._forms.setdefault(
            (accumulation, first, again, *((one.shape, one.dtype, one.stride()) for one in tensors)), _Form()
        )
        form.met += 1
        if form.met <= WARM_UPS:
            return self._recorder.aside(lambda: self._pass(batch, accumulation, first))
        return self._replayed(form, batch, accumulation, first)

    def _replayed(self, form: _Form, batch: TrainBatch, accumulation: int, first: bool) -> torch.Tensor:
        if form.batch is None or form.loss is None:
            form.batch = TrainBatch(torch.empty_like(batch.images), torch.empty_like(batch.targets))
            form.loss = torch.zeros((), device=batch.images.device)
        kept, loss = form.batch, form.loss
        if form.replay is None:
            form.replay = self._recorder.record(lambda: loss.copy_(self._pass(kept, accumulation, first)))
        kept.images.copy_(batch.images)
        kept.targets.copy_(batch.targets)
        form.replay()
        # A replay runs no Python, and the optimizer has taken the gradients off their weights.
        self._attach()
        return loss

    def _pass(self, batch: TrainBatch, accumulation: int, first: bool) -> torch.Tensor:
        if not first:
            return self._run(batch, accumulation)
        for weight in self._weights:
            weight.grad = None
        loss = self._run(batch, accumulation)
        if not self._gradients:
            # Not of weights that take no part: the optimizer must not decay them.
            self._learning = [weight for weight in self._weights if weight.grad is not None]
            self._gradients = [weight.grad for weight in self._learning if weight.grad is not None]
        else:
            made = [weight.grad for weight in self._learning if weight.grad is not None]
            torch._foreach_copy_(self._gradients, made)
            self._attach()
        return loss

    def _attach(self) -> None:
        for weight, gradient in zip(self._learning, self._gradients, strict=True):
            weight.grad = gradient


def graphed(ranks: Ranks, weights: list[nn.Parameter], run: Pass) -> GraphedPasses:
    """GraphedPasses on this rank's GPU. Raises UserError where there is none, or where there are several ranks."""
    if not is_cuda(ranks.device):
        raise UserError(
            f"training.cuda_graphs needs a GPU{of_cuda(ranks.device)}, and this run is on the {ranks.device.type}: "
            "drop it"
        )
    if ranks.world > 1:
        raise UserError(
            f"training.cuda_graphs works on one GPU, and this run has {ranks.world} (the exchange of gradients is not "
            "captured): drop it"
        )
    return GraphedPasses(weights, run, CudaRecorder(ranks.device))
