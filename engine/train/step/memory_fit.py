"""training.fit_memory: the largest device batch that fits into GPU memory at each resolution, found by trying.

The global batch and the learning rate stay the recipe's; smaller device batches are accumulated. Batch norm sees the
device batch, so results depend on the memory as they do on training.device_batch_size.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from engine.devices import free_memory, release_memory
from engine.errors import UserError
from engine.train.augment.chain import TrainBatch
from engine.train.batching import BatchPlan
from engine.train.ranks.group import Ranks
from engine.train.step.scale import refuse_single_images
from engine.train.step.step import Step

# Share of device memory to keep free, for the loader's batches and for fragmentation.
_SPARE = 0.08

Fits = Callable[[int, int], bool]
"""(images, pixels a side) -> whether a step over such a batch fits on every rank."""


def fit_plans(plans: dict[int, BatchPlan], fits: Fits) -> dict[int, BatchPlan]:
    """`plans`, by resolution, with as few accumulation steps as fit, at least the present number.

    Raises UserError if not even a single image fits.
    """
    return {side: _fit(side, plan, fits) for side, plan in plans.items()}


def _fit(side: int, plan: BatchPlan, fits: Fits) -> BatchPlan:
    share = plan.device_batch * plan.accumulation
    for accumulation in range(plan.accumulation, share + 1):
        count, rest = divmod(share, accumulation)
        if not rest and fits(count, side):
            return replace(plan, device_batch=count, accumulation=accumulation)
    raise UserError(
        f"training.fit_memory: the device has no memory for a step over one image of {side} px: take a smaller "
        "model.arch or resolution, or data.resident=off where the device holds the training data"
    )


def fits_in_memory(step: Step, ranks: Ranks, count: int, side: int) -> bool:
    """Whether every rank's GPU has memory for a step over `count` images of `side` pixels, with some to spare.

    Raises UserError where a single image is too little for the network's batch norm.
    """
    if count == 1:
        # Not DistributedDataParallel's wrapper, if there is one.
        refuse_single_images(getattr(step.model, "module", step.model), side)
    try:
        rehearse(step, count, side)
        memory = free_memory(ranks.device)
        enough = memory is None or memory[0] >= _SPARE * memory[1]
    except RuntimeError as error:
        if not _lacks_memory(error):
            raise
        enough = False
    # Memory reserved for one size must not block another.
    release_memory(ranks.device)
    lacking = ranks.sum(torch.tensor(int(not enough), device=ranks.device))
    return int(lacking) == 0


_LACK = ("unable to find an engine", "_alloc_failed", "cuda error: out of memory", "hip error: out of memory")
"""Where it is not torch that lacks memory: cuDNN for its workspace, cuBLAS and cuDNN for handles, CUDA for kernels."""


def _lacks_memory(error: RuntimeError) -> bool:
    """Whether a step failed for lack of memory, in the words of whoever lacked it."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error).lower() for words in _LACK)


@contextmanager
def naming_lack_of_memory(resident_bytes: int) -> Iterator[None]:
    """Raises UserError where the block fails because the device has no memory; so many bytes of it hold data."""
    try:
        yield
    except RuntimeError as error:
        if not _lacks_memory(error):
            raise
        held = f", or data.resident=off: {resident_bytes / 1e9:.2f} GB hold the training data"
        raise UserError(
            "the device has no memory for a training step: lower training.device_batch_size, or set "
            f"training.fit_memory=true{held if resident_bytes else ''}"
        ) from None


def rehearse(step: Step, count: int, side: int) -> None:
    """Take a step over `count` random images of `side` pixels and undo it; only before the run's first step.

    Raises torch.OutOfMemoryError, or cuDNN's RuntimeError, if it does not fit.
    """
    precision, device = step.precision, step.ranks.device
    layout = torch.channels_last if step.channels_last else torch.contiguous_format
    models = [step.model, *([step.ema.model] if step.ema else [])]
    before = [{name: value.cpu().clone() for name, value in model.state_dict().items()} for model in models]
    scaler, optimizer = step.scaler.state_dict(), step.optimizer.state_dict()
    try:
        images = torch.randn(count, 3, side, side, device=device, dtype=precision.input_dtype)
        labels = torch.zeros(count, dtype=torch.int64, device=device)
        batch = TrainBatch(images.to(memory_format=layout), labels)
        # As the first of two accumulated batches, so that ranks do not wait for each other. Step -1 is the last of an
        # interval, so that SAM's second pass is included.
        step.take(iter([batch]), 2, lr=0.0, number=-1)
    finally:
        step.optimizer.zero_grad(set_to_none=True)
        step.optimizer.load_state_dict(optimizer)
        step.scaler.load_state_dict(scaler)
        for model, state in zip(models, before, strict=True):
            model.load_state_dict(state)
