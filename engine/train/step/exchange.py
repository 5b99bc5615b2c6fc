"""The average of the gradients over several ranks: PyTorch's DistributedDataParallel (DDP) and its options."""

from collections.abc import Iterable
from inspect import signature
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from engine.config.train.training import TrainingConfig
from engine.devices import is_gpu
from engine.errors import UserError
from engine.train.batching import BatchPlan
from engine.train.ranks.group import Ranks
from engine.train.step.compiling import compiles

# Newer versions of torch warn of the older name.
_LEAVE_BUFFERS: dict[str, Any] = {
    name: False
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in signature(DistributedDataParallel).parameters
}
if len(_LEAVE_BUFFERS) > 1:
    del _LEAVE_BUFFERS["broadcast_buffers"]


def exchanging(model: nn.Module, ranks: Ranks, training: TrainingConfig) -> nn.Module:
    """`model`, whose backward pass averages the gradients over the ranks. Every rank has to call this.

    With training.exchange=bf16 each rank divides its gradients by the number of ranks in bf16, and bf16 sums are taken:
    DDP's bf16_compress_hook. The result is the same on all ranks, and weights stay fp32. Raises UserError for options
    that don't work here.
    """
    if training.static_graph and compiles(training.compile, ranks.device):
        # It was an error (pytorch#93672, closed as mended), and the pair has not been tried here.
        raise UserError(
            "training.static_graph is not used with torch.compile, with which it was not tried: drop it, or pass "
            "--training.compile=off"
        )
    if training.exchange == "bf16":
        _try_bf16(ranks)
    wrapped = DistributedDataParallel(
        model,
        device_ids=[ranks.device] if is_gpu(ranks.device) else None,
        gradient_as_bucket_view=True,
        static_graph=training.static_graph,
        # Each rank keeps its own batch-norm statistics; the validator broadcasts rank 0's.
        **_LEAVE_BUFFERS,
    )
    if training.exchange == "bf16":
        wrapped.register_comm_hook(None, bf16_compress_hook)
    return wrapped


def refuse_static_graph(training: TrainingConfig, ranks: Ranks, plans: Iterable[BatchPlan]) -> None:
    """Raises UserError for training.static_graph with accumulated batches, at which DDP fails (torch 2.15)."""
    if training.static_graph and ranks.world > 1 and any(plan.accumulation > 1 for plan in plans):
        raise UserError(
            "training.static_graph does not work with accumulated batches: drop it, or raise "
            "training.device_batch_size until a step is one batch of each device"
        )


def _try_bf16(ranks: Ranks) -> None:
    try:
        dist.all_reduce(torch.zeros(1, dtype=torch.bfloat16, device=ranks.device))
    except (RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, dist.DistError):
            raise
        raise UserError(
            f"training.exchange=bf16 does not work here ({str(error).splitlines()[0]}): use fp32"
        ) from None
