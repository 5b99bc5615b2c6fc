"""A process finds its place among the others by what torchrun or srun has set, and is alone where neither has."""

import socket
from contextlib import closing

import pytest
from torch.distributed import HashStore  # type: ignore[attr-defined]

from engine.errors import UserError
from engine.train.ranks import launch
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


GOOD = {
    "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a",
    "MASTER_PORT": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WORLD_SIZE": None}, "WORLD_SIZE is not set in the environment"),
        ({"RANK": None}, "RANK is not set in the environment"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is '' in the environment, not a number"),
        ({"MASTER_ADDR": None}, "MASTER_ADDR, the address of rank 0's host, is not set"),
        ({"MASTER_PORT": None}, "MASTER_PORT is not set in the environment"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http' in the environment, not a number"),
        ({"RANK": "2"}, "RANK is 2, but WORLD_SIZE is 2: they count from 0"),
        ({"LOCAL_RANK": "2"}, "LOCAL_RANK is 2, but LOCAL_WORLD_SIZE is 2: they count from 0"),
    ],
)
def test_wrong_environment_is_refused_by_name(changes: dict[str, str | None], message: str) -> None:
    read_place(dict(GOOD))
    assert launch._address(dict(GOOD)) == ("a", 1)
    environment = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(UserError, match=f"^{message}.*start with torchrun or srun"):
        read_place(environment)
        launch._address(environment)


def test_ranks_by_hand_on_one_host_have_local_ranks() -> None:
    by_hand = {name: value for name, value in GOOD.items() if not name.startswith("LOCAL")}
    assert read_place(by_hand) == Place(rank=1, world=2, local_rank=1, local_world=2, launcher="torchrun")


def test_world_size_beside_srun_or_of_one_process_is_no_error() -> None:
    assert read_place({**SRUN, "WORLD_SIZE": "5"}).launcher == "srun"
    assert read_place({"WORLD_SIZE": "1"}) == Place()


@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_mpirun_is_refused(name: str) -> None:
    assert read_place({name: "1"}) == Place()
    with pytest.raises(UserError, match=f"{name} is 4: mpirun does not tell .* use torchrun or srun"):
        read_place({name: "4"})


def test_srun_without_its_list_of_tasks_is_refused() -> None:
    with pytest.raises(UserError, match="SLURM_NODEID is 3, but SLURM_STEP_TASKS_PER_NODE is"):
        read_place({**SRUN, "SLURM_NODEID": "3"})


def test_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("", 0))) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(UserError, match=f"^port {port} of this host, MASTER_PORT, is in use"):
            launch._connect(serves=True)


def test_missing_first_rank_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    monkeypatch.setattr(launch, "_MINUTES", 0.005)
    with pytest.raises(
        UserError, match=rf"^no connection to rank 0 at 127\.0\.0\.1:{port} \(.*: start rank 0"
    ):
        launch._connect(serves=False)


def test_ranks_that_did_not_come_are_named() -> None:
    said = launch.Meeting("name", HashStore(), {0, 2}, 4).missing()
    assert said.startswith("rank 1, 3 did not come within 10 minutes")
    assert launch.Meeting("name", HashStore(), {0, 1}, 2).missing() == ""
    assert launch.Meeting("name", HashStore(), set(), 4).missing() == "", "another rank than the first"
