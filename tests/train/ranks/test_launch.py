"""A process finds its place among the others by what torchrun or srun has set, and is alone where neither has."""

import pytest

from engine.errors import UserError
from engine.train.ranks.launch import Place, first_host, read_place, tasks_per_node

SRUN = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_STEP_NODELIST": "gpu[03-04],cpu1",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}


def test_torchrun_environment_gives_the_place() -> None:
    said = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    # torchrun within srun: the nearer one counts.
    place = read_place({**SRUN, **said})
    assert place == Place(rank=3, world=8, local_rank=1, local_world=2, launcher="torchrun")


def test_srun_environment_gives_place_and_master_address() -> None:
    environment = dict(SRUN)
    assert read_place(environment) == Place(rank=3, world=5, local_rank=1, local_world=2, launcher="srun")
    assert (environment["RANK"], environment["WORLD_SIZE"]) == ("3", "5")
    assert environment["MASTER_ADDR"] == "gpu03"
    other = dict(SRUN, SLURM_PROCID="0", SLURM_NODEID="0", SLURM_LOCALID="0")
    read_place(other)
    assert other["MASTER_PORT"] == environment["MASTER_PORT"], "the same on all ranks"
    later = dict(SRUN, SLURM_STEP_ID="3")
    read_place(later)
    assert later["MASTER_PORT"] != environment["MASTER_PORT"], "another step of the job may share the host"


def test_master_address_that_is_set_is_kept() -> None:
    environment = dict(SRUN, MASTER_ADDR="10.0.0.1", MASTER_PORT="1234")
    read_place(environment)
    assert (environment["MASTER_ADDR"], environment["MASTER_PORT"]) == ("10.0.0.1", "1234")


def test_batch_script_without_srun_is_one_process() -> None:
    environment = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}
    assert read_place(environment) == Place()
    assert "RANK" not in environment


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[01-04,07],cpu3", "gpu01"),
        ("gpu[7,9]", "gpu7"),
        ("gpu7", "gpu7"),
        ("a-1,b", "a-1"),
        ("n[12]", "n12"),
    ],
)
def test_first_host_of_a_node_list(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_tasks_per_node_are_expanded() -> None:
    assert tasks_per_node("2(x3),1") == [2, 2, 2, 1]
    with pytest.raises(UserError, match="SLURM_STEP_TASKS_PER_NODE is 'many'"):
        tasks_per_node("many")


def test_rank_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(UserError, match="RANK is 'first' in the environment, not a number"):
        read_place({"RANK": "first", "WORLD_SIZE": "2"})
