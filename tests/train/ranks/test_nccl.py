"""NCCL, DDP, BlurPool and torch.compile together on one GPU: a process group of one rank, which torchrun leaves out."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from engine.models.build import build_model
from engine.train.augment.chain import TrainBatch
from engine.train.ranks.group import Ranks
from engine.train.step.precision import Precision
from engine.train.step.step import Step
from tests.train.steps import recipe

CUDA = torch.device("cuda", 0)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A real NCCL group of this process alone."""
    dist.init_process_group(
        "nccl", init_method=f"file://{tmp_path}/store", rank=0, world_size=1, device_id=CUDA
    )
    yield
    dist.destroy_process_group()


def trained(model: torch.nn.Module, compiled: str) -> list[float]:
    """The losses of three steps of two accumulated batches, in fp32."""
    ranks = Ranks(rank=0, world=1, local_rank=0, local_world=1, device=CUDA)
    step = Step(recipe(compile=compiled, use_blurpool=True), ranks, Precision("fp32", CUDA), model.train(), 4)
    random = torch.Generator().manual_seed(0)
    parts = iter(
        TrainBatch(
            torch.randn(8, 3, 32, 32, generator=random).to(CUDA, memory_format=torch.channels_last),
            torch.randint(0, 4, (8,), generator=random).to(CUDA),
        )
        for _ in range(6)
    )
    step.prepare(8, 32)
    return [float(step.take(parts, 2, lr=0.05, number=number)[0]) for number in range(3)]


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", ["off", "on"])
def test_one_nccl_rank_trains_as_a_process_without_ranks(group: None, compiled: str) -> None:
    torch.manual_seed(0)
    plain = build_model("small_resnet", 4, use_blurpool=True).to(CUDA).to(memory_format=torch.channels_last)
    wrapped = DistributedDataParallel(
        copy.deepcopy(plain), device_ids=[0], gradient_as_bucket_view=True, broadcast_buffers=False
    )
    assert trained(wrapped, compiled) == pytest.approx(trained(plain, "off"), rel=1e-3)
