"""Two ranks that share a device exchange their gradients by gloo: their steps are those of one process.

On a machine with one GPU this is all of DistributedDataParallel on CUDA tensors that can be tried (NCCL refuses two
ranks on one GPU; a group of one rank is in test_nccl.py).
"""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn

from engine.train.augment.chain import TrainBatch
from engine.train.ranks.group import Ranks
from engine.train.step.precision import Precision
from engine.train.step.step import Step
from tests.train.steps import batches, network, recipe, weights

STEPS = 3


def trained(ranks: Ranks) -> nn.Module:
    """The network after some steps of two accumulated batches, of which each rank takes its half."""
    # Without a norm: its statistics are each rank's own.
    model = network(norm=False).to(ranks.device)
    step = Step(recipe(compile="off"), ranks, Precision("fp32", ranks.device), model.train(), 4)
    share = slice(4 * ranks.rank, 4 * (ranks.rank + 1)) if ranks.world == 2 else slice(None)
    parts = iter(
        TrainBatch(batch.images[share].to(ranks.device), batch.targets[share].to(ranks.device))
        for batch in batches(2 * STEPS)
    )
    for number in range(STEPS):
        step.take(parts, 2, lr=0.1, number=number)
    return model


def run_rank(rank: int, folder: str, device: str) -> None:
    """One of two ranks, in a process of its own; the first keeps the weights."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = trained(Ranks(rank=rank, world=2, local_rank=rank, local_world=2, device=torch.device(device)))
    if rank == 0:
        torch.save(model.state_dict(), f"{folder}/weights.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "device",
    [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda:0", marks=pytest.mark.gpu)],
)
def test_two_ranks_on_one_device_step_as_one_process(device: str, tmp_path: Path) -> None:
    spawn(run_rank, (str(tmp_path), device), nprocs=2)
    found = torch.load(tmp_path / "weights.pt", map_location="cpu")
    alone = Ranks(rank=0, world=1, local_rank=0, local_world=1, device=torch.device(device))
    for name, value in weights(trained(alone)).items():
        torch.testing.assert_close(found[name], value.cpu(), rtol=1e-4, atol=1e-5)
