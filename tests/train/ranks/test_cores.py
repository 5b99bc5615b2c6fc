"""Processes of a host get equal, disjoint cores near their GPUs, and what the user has bound stays as it is."""

import json
import math
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import limits
from engine.train.ranks.cores import Seat, node_of_pci, read_nodes, share_of_cores
from engine.train.ranks.group import process_group
from tests.train.conftest import ROOT, command

# Two sockets of 8 cores with two threads each, numbered as Linux does: core 1's other thread is core 17.
NODES = {
    node: [cpu for core in range(8) for cpu in (8 * node + core, 8 * node + core + 16)] for node in (0, 1)
}
ALL = frozenset(range(32))


def _seats(allowed: Sequence[frozenset[int]], gpu_nodes: Sequence[int | None] = ()) -> list[Seat]:
    gpu_nodes = gpu_nodes or [None] * len(allowed)
    return [Seat("here", cores, node) for cores, node in zip(allowed, gpu_nodes, strict=True)]


def _shares(seats: list[Seat]) -> list[frozenset[int]]:
    return [share_of_cores(rank, seats, NODES) for rank in range(len(seats))]


@pytest.mark.parametrize("count", range(1, 33))
def test_shares_are_disjoint_and_use_every_core(count: int) -> None:
    shares = _shares(_seats([ALL] * count))
    assert frozenset().union(*shares) == ALL and sum(map(len, shares)) == 32
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("count", [2, 4, 8, 16])
def test_share_is_on_one_node_with_whole_cores(count: int) -> None:
    for share in _shares(_seats([ALL] * count)):
        assert any(share <= set(cores) for cores in NODES.values())
        assert {cpu % 16 for cpu in share} == {cpu for cpu in share if cpu < 16}
        assert len(share) == 2 * len({cpu % 16 for cpu in share})


def test_share_is_on_the_node_of_its_gpu() -> None:
    gpu_nodes = [1, 0, 1, 0]
    for share, node in zip(_shares(_seats([ALL] * 4, gpu_nodes)), gpu_nodes, strict=True):
        assert share <= set(NODES[node])


def test_gpus_on_one_node_still_use_both_nodes() -> None:
    shares = _shares(_seats([ALL] * 4, [1, 1, 1, 1]))
    assert frozenset().union(*shares) == ALL


def test_unknown_gpu_node_falls_back_to_rank_order() -> None:
    assert _shares(_seats([ALL] * 4, [1, 0, None, 0])) == _shares(_seats([ALL] * 4))


def test_only_allowed_cores_are_shared() -> None:
    allowed = frozenset({3, 4, 5, 19, 12, 30})
    shares = _shares(_seats([allowed] * 3))
    assert shares == [{3, 19}, {4, 5}, {12, 30}]


def test_processes_bound_apart_keep_their_cores() -> None:
    bound = [frozenset({0, 1}), frozenset({2, 3}), frozenset({20})]
    assert _shares(_seats(bound)) == bound


def test_processes_bound_to_a_socket_share_it() -> None:
    sockets = [frozenset(NODES[0])] * 2 + [frozenset(NODES[1])] * 4
    shares = _shares(_seats(sockets))
    assert [len(share) for share in shares] == [8, 8, 4, 4, 4, 4]
    assert shares[0] | shares[1] == sockets[0] and frozenset().union(*shares[2:]) == sockets[2]


def test_each_host_shares_only_its_cores() -> None:
    seats = [Seat(host, ALL, None) for host in ("a", "a", "b", "b")]
    shares = _shares(seats)
    assert shares[0] == shares[2] and shares[1] == shares[3] and not shares[0] & shares[1]


def test_more_processes_than_cores_get_one_each() -> None:
    shares = _shares(_seats([frozenset({4, 5})] * 5))
    assert all(len(share) == 1 for share in shares) and frozenset().union(*shares) == {4, 5}


def test_cores_without_a_known_node_are_shared_too() -> None:
    seats = _seats([frozenset({1, 40, 41, 42})] * 2)
    assert _shares(seats) == [{1, 40}, {41, 42}]
    assert [share_of_cores(rank, seats, {}) for rank in (0, 1)] == [{1, 40}, {41, 42}]


# The system's own files


def test_hyperthreads_of_a_core_are_adjacent(tmp_path: Path) -> None:
    for node, cores in ((0, "0-1,4-5"), (1, "2-3,6-7"), (2, "")):
        folder = tmp_path / "node" / f"node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{cores}\n")
    for cpu in range(8):
        folder = tmp_path / "cpu" / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    assert read_nodes(tmp_path) == {0: [0, 4, 1, 5], 1: [2, 6, 3, 7], 2: []}


def test_system_without_topology_has_no_nodes(tmp_path: Path) -> None:
    assert read_nodes(tmp_path) == {}


def test_nodes_of_this_machine_hold_its_cores() -> None:
    nodes = read_nodes()
    if not nodes:
        pytest.skip("this system does not say which node its cores belong to")
    assert set(os.sched_getaffinity(0)) <= {core for cores in nodes.values() for core in cores}


@pytest.mark.parametrize(("content", "node"), [("1\n", 1), ("0\n", 0), ("-1\n", None)])
def test_gpu_node_is_found_by_pci_address(tmp_path: Path, content: str, node: int | None) -> None:
    folder = tmp_path / "0000:c1:00.0"
    folder.mkdir()
    (folder / "numa_node").write_text(content)
    assert node_of_pci(0, 0xC1, 0, tmp_path) == node
    assert node_of_pci(0, 0x17, 0, tmp_path) is None


# Real processes

_RANK = """
import json, os, sys
rank = int(os.environ["LOCAL_RANK"])
cores = json.loads(sys.argv[1])[rank]
if cores:
    os.sched_setaffinity(0, cores)
import torch
from engine.train.ranks.group import process_group
torch.ones(4096, 64) @ torch.ones(64, 64)  # threads that are there already
with process_group("cpu", pin_cores=sys.argv[2] == "True") as ranks:
    threads = [sorted(os.sched_getaffinity(int(task))) for task in os.listdir("/proc/self/task")]
    said = {"cores": sorted(os.sched_getaffinity(0)), "threads": threads,
            "count": ranks.cores(), "torch": torch.get_num_threads()}
    with open(f"{sys.argv[3]}/{ranks.rank}.json", "w") as file:
        json.dump(said, file)
"""


def _ranks(folder: Path, bound: list[list[int]], pin: bool) -> list[dict[str, Any]]:
    """What each of two ranks says, started with these cores (all that are allowed where empty)."""
    script = folder / "rank.py"
    script.write_text(_RANK)
    subprocess.run(
        command([json.dumps(bound), str(pin), str(folder)], ranks=2, script=str(script)),
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120, check=True,
    )  # fmt: skip
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture
def allowed() -> list[int]:
    """This machine's cores, at least two."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("a single core can't be shared out")
    return cores


@pytest.mark.slow
def test_ranks_pin_all_their_threads_to_disjoint_halves(tmp_path: Path, allowed: list[int]) -> None:
    first, second = _ranks(tmp_path, [[], []], pin=True)
    assert sorted(first["cores"] + second["cores"]) == allowed
    for entry in (first, second):
        assert entry["count"] == entry["torch"] == len(entry["cores"])
        assert all(cores == entry["cores"] for cores in entry["threads"])


@pytest.mark.slow
def test_ranks_without_pinning_still_count_their_share(tmp_path: Path, allowed: list[int]) -> None:
    entries = _ranks(tmp_path, [[], []], pin=False)
    assert [entry["cores"] for entry in entries] == [allowed, allowed]
    assert sum(entry["count"] for entry in entries) == len(allowed)
    assert all(entry["torch"] == entry["count"] for entry in entries)


@pytest.mark.slow
def test_ranks_bound_by_the_user_keep_their_cores(tmp_path: Path, allowed: list[int]) -> None:
    bound = [allowed[1:], allowed[:1]]
    entries = _ranks(tmp_path, bound, pin=True)
    assert [entry["cores"] for entry in entries] == bound
    assert [entry["count"] for entry in entries] == [len(cores) for cores in bound]


@pytest.mark.parametrize(("quota", "threads"), [(1.5, None), (math.inf, "1")])
def test_quota_and_the_users_setting_limit_torchs_threads(
    quota: float, threads: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(limits, "cpu_quota", lambda *_: quota)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with process_group("cpu") as ranks:
            assert torch.get_num_threads() == 1
            assert ranks.cores() == (3 if threads else 1)
    finally:
        torch.set_num_threads(before)
