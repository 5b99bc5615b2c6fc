"""Gradients exchanged in bf16, and DDP's static graph: two real ranks (gloo) on the CPU."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from engine.errors import UserError
from engine.train.batching import BatchPlan
from engine.train.ranks.group import Ranks
from engine.train.step.exchange import refuse_static_graph
from engine.train.step.precision import Precision
from engine.train.step.step import Step
from tests.train.steps import CPU, batches, network, recipe

SAM: dict[str, Any] = {"sam_rho": 0.1, "sam_interval": 2}
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({}, 1),
    "bf16": ({"exchange": "bf16"}, 1),
    "static": ({"static_graph": True}, 1),
    "accumulated": ({}, 2),
    "bf16 accumulated": ({"exchange": "bf16"}, 2),
    "sam": (SAM, 1),
    "static sam": ({"static_graph": True, **SAM}, 1),
}


def ranks_of(rank: int) -> Ranks:
    return Ranks(rank=rank, world=2, local_rank=rank, local_world=2, device=CPU)


def _trained(rank: int, training: dict[str, Any], accumulation: int, cut: int) -> torch.Tensor:
    """All weights after four steps; after `cut` of them they go on in a new network and step."""
    config, parts = recipe(momentum=0.9, **training), batches(4 * accumulation, seed=rank)
    model = network(norm=False)
    step = Step(config, ranks_of(rank), Precision("fp32", CPU), model.train(), 4)
    for number in range(4):
        if number == cut:
            weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(step.state_dict())
            model = network(norm=False)
            model.load_state_dict(weights)
            step = Step(config, ranks_of(rank), Precision("fp32", CPU), model.train(), 4)
            step.load_state_dict(state)
        of_step = parts[number * accumulation : (number + 1) * accumulation]
        step.take(iter(of_step), accumulation, lr=0.05, number=number)
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def _train_all(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {}
    for name, (training, accumulation) in CASES.items():
        found[name] = _trained(rank, training, accumulation, cut=-1)
        found[f"{name} resumed"] = _trained(rank, training, accumulation, cut=2)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_bf16_exchange_is_close_and_static_graph_equal_on_all_ranks(tmp_path: Path) -> None:
    spawn(_train_all, args=(str(tmp_path),), nprocs=2)
    found, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name, weights in found.items():
        assert torch.equal(weights, other[name]), f"{name}: ranks differ"
        assert torch.equal(weights, found[f"{name.removesuffix(' resumed')} resumed"]), name
    assert torch.equal(found["static"], found["plain"])
    assert torch.equal(found["static sam"], found["sam"])
    start = torch.cat([weight.detach().flatten() for weight in network(norm=False).parameters()])
    for plain, bf16 in (("plain", "bf16"), ("accumulated", "bf16 accumulated")):
        moved, apart = found[plain] - start, found[bf16] - found[plain]
        # bf16 keeps 8 bits: each gradient is off by at most 2^-8 of its size, a few times over.
        assert 0 < apart.norm() < 0.01 * moved.norm()


def test_static_graph_is_refused_where_ddp_fails() -> None:
    static, apart = recipe(static_graph=True).training, ranks_of(0)
    once, twice = (BatchPlan(4 * n, 2, n, 2) for n in (1, 2))
    refuse_static_graph(static, apart, [once])
    refuse_static_graph(recipe().training, apart, [twice])
    with pytest.raises(
        UserError, match="static_graph does not work with accumulated batches: drop it, or raise"
    ):
        refuse_static_graph(static, apart, [once, twice])
    with pytest.raises(
        UserError, match=r"static_graph is not used with torch\.compile, .* not tried: drop it"
    ):
        Step(recipe(static_graph=True, compile="on"), apart, Precision("fp32", CPU), network(), 4)
    with pytest.raises(
        UserError, match=r"static_graph and training\.fit_memory exclude each other: drop one"
    ):
        recipe(static_graph=True, fit_memory=True)
