"""Cores and memory under control groups, nested and of both versions, in trees made up for it; the user's threads."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine.limits import compute_threads, cpu_quota, free_memory, share_of_quota, usable_cores, usable_memory

GIB = 2**30


class Machine:
    """A /proc and a /sys/fs/cgroup with 64 GiB free and the groups that a test adds."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroups = root / "proc", root / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        self.cgroups.mkdir()
        (self.proc / "meminfo").write_text(
            "MemTotal: 104857600 kB\nMemFree: 1 kB\nMemAvailable:   67108864 kB\n"
        )
        self.belongs("5:cpu,cpuacct:/", "1:name=systemd:/")

    def belongs(self, *lines: str) -> None:
        (self.proc / "self" / "cgroup").write_text("".join(f"{line}\n" for line in lines))

    def mounts(self, *lines: str) -> None:
        """Each: the group that is mounted, where below cgroups, and file system and options."""
        rows = (line.split(" ", 2) for line in lines)
        text = "".join(
            f"3{number} 23 0:2{number} {root} {self.cgroups}/{where} rw,relatime - {what}\n"
            for number, (root, where, what) in enumerate(rows)
        )
        (self.proc / "self" / "mountinfo").write_text(f"23 1 8:1 / / rw - ext4 /dev/vda rw\n{text}")

    def group(self, path: str, **files: object) -> None:
        folder = self.cgroups / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(f"{text}\n")

    def free(self) -> float:
        """In GiB."""
        return free_memory(self.proc, self.cgroups) / GIB

    def usable(self) -> float:
        """In GiB."""
        return usable_memory(self.proc, self.cgroups) / GIB

    def quota(self) -> float:
        return cpu_quota(self.proc, self.cgroups)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _v2(limit: object, used: int, cached: int) -> dict[str, object]:
    statistics = f"anon 7\nactive_file {cached * GIB // 2}\ninactive_file {cached * GIB // 2}"
    return {"memory__max": limit, "memory__current": used * GIB, "memory__stat": statistics}


def _v1(limit: int, used: int, cached: int) -> dict[str, object]:
    # The group's own figures are without those of the groups in it: the totals count.
    statistics = f"inactive_file 9\ntotal_inactive_file {cached * GIB}\ntotal_active_file 0"
    return {
        "memory__limit_in_bytes": limit,
        "memory__usage_in_bytes": used * GIB,
        "memory__stat": statistics,
    }


def _cpu_v1(quota: int, period: int = 100000) -> dict[str, object]:
    return {"cpu__cfs_quota_us": quota, "cpu__cfs_period_us": period}


def test_no_cgroup_limit_gives_the_machines_memory(machine: Machine) -> None:
    assert (machine.free(), machine.usable()) == (64, 100)
    machine.belongs("4:memory:/job")
    machine.group("memory/job", **_v1(2**63 - 4096, 1, 0))
    assert (machine.free(), machine.usable()) == (64, 100)


def test_page_cache_counts_as_free(machine: Machine) -> None:
    machine.belongs("0::/job")
    machine.group("job", **_v2(20 * GIB, 15, 10))
    assert (machine.free(), machine.usable()) == (20 - 15 + 10, 20)


def test_tightest_parent_group_is_the_limit(machine: Machine) -> None:
    machine.belongs("0::/slurm/job/step")
    machine.group("slurm", **_v2(50 * GIB, 20, 0))
    machine.group("slurm/job", **_v2(30 * GIB, 10, 2), cpu__max="300000 100000")
    machine.group("slurm/job/step", **_v2("max", 10, 2), cpu__max="max 100000")
    assert (machine.free(), machine.usable(), machine.quota()) == (22, 30, 3)


def test_cgroup_version_1_is_read(machine: Machine) -> None:
    machine.belongs("4:memory:/docker/abc", "3:cpu:/docker/abc", "0::/")
    machine.group("memory/docker/abc", **_v1(16 * GIB, 12, 8))
    machine.group("cpu/docker/abc", **_cpu_v1(-1))
    machine.group("cpu/docker", **_cpu_v1(150000))
    assert (machine.free(), machine.usable(), machine.quota()) == (12, 16, 1.5)


def test_controllers_that_share_a_folder_are_read(machine: Machine) -> None:
    machine.belongs("5:cpu,cpuacct:/job")
    machine.group("cpu,cpuacct/job", **_cpu_v1(50000))
    assert machine.quota() == 0.5


@pytest.mark.parametrize("line", ["0::/", "4:memory:/docker/x", "0::/../../elsewhere"])
def test_container_root_is_read_as_the_own_group(line: str, machine: Machine) -> None:
    machine.belongs(line, "3:cpu:/docker/only-the-host-has-this")
    machine.group("memory", **_v1(16 * GIB, 12, 8))
    machine.group(".", **_v2(16 * GIB, 12, 8), cpu__max="100000 100000")
    assert (machine.free(), machine.usable(), machine.quota()) == (12, 16, 1)
    machine.group("cpu", **_cpu_v1(50000))
    assert machine.quota() == 0.5


def test_hybrid_mounts_are_both_read(machine: Machine) -> None:
    machine.belongs("4:cpu:/", "0::/box/job")
    machine.mounts("/ cpu cgroup cgroup rw,cpu", "/ unified cgroup2 cgroup2 rw")
    machine.group("unified/box", **_v2(8 * GIB, 2, 0), cpu__max="250000 100000")
    machine.group("unified/box/job", **_v2("max", 1, 0))
    assert (machine.free(), machine.quota()) == (6, 2.5)
    machine.group("cpu", **_cpu_v1(200000))
    assert machine.quota() == 2


def test_group_below_a_containers_mount_is_read(machine: Machine) -> None:
    """Docker shows version 1's groups from the container's on, and /proc gives their names on the host."""
    machine.belongs("7:cpu,cpuacct:/docker/abc/jobs/one", "4:memory:/docker/abc/jobs")
    machine.mounts(
        "/docker/abc cpu,cpuacct cgroup cgroup rw,cpu,cpuacct", "/docker/abc memory cgroup cgroup rw,memory"
    )
    machine.group("memory/jobs", **_v1(4 * GIB, 1, 0))
    machine.group("cpu,cpuacct/jobs/one", **_cpu_v1(75000, 50000))
    assert (machine.free(), machine.quota()) == (3, 1.5)
    machine.group("cpu,cpuacct/jobs", **_cpu_v1(50000, 50000))
    assert machine.quota() == 1


def test_group_of_another_name_below_the_mount_is_not_read(machine: Machine) -> None:
    machine.belongs("7:cpu:/docker/abcdef")
    machine.mounts("/docker/abc cpu cgroup cgroup rw,cpu")
    machine.group("cpu/def", **_cpu_v1(100000))
    assert machine.quota() == math.inf


def test_groups_mounted_before_the_namespace_are_found_by_process(machine: Machine) -> None:
    """As after `unshare --cgroup`: the name of this process's group in the older mount is not told."""
    machine.belongs("0::/inner")
    machine.mounts("/../.. . cgroup2 cgroup2 rw")
    machine.group("slice/other", cpu__max="100000 100000", cgroup__procs=1)
    machine.group("slice", cpu__max="800000 100000")
    machine.group("slice/job", cpu__max="600000 100000", cgroup__procs="")
    machine.group("slice/job/inner", cpu__max="300000 100000", cgroup__procs=f"1\n{os.getpid()}")
    assert machine.quota() == 3
    machine.group("slice", cpu__max="200000 100000")
    assert machine.quota() == 2


def test_memory_high_is_a_limit_and_slab_counts_as_free(machine: Machine) -> None:
    machine.belongs("0::/job")
    files = _v2(20 * GIB, 9, 4) | {"memory__high": 10 * GIB}
    files["memory__stat"] = f"{files['memory__stat']}\nslab_reclaimable {2 * GIB}"
    machine.group("job", **files)
    assert (machine.free(), machine.usable()) == (10 - 9 + 4 + 2, 10)


def _make_group(controller: str) -> Path | str:
    """A new group of version 1, or of version 2 where the root gives the controller on; or why there is none."""
    base = Path("/sys/fs/cgroup")
    if (base / controller / "cgroup.procs").exists():
        base /= controller
    elif controller not in _text(base / "cgroup.subtree_control").split():
        return f"the {controller} controller is not ours to use here"
    group = base / f"engine-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        return f"no control group can be made here: {error}"
    return group


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.fixture
def real_groups() -> Iterator[tuple[Path, Path]]:
    """A group with 1.5 cores of time and one in it without a limit of its own."""
    made = _make_group("cpu")
    if isinstance(made, str):
        pytest.skip(made)
    inner = made / "inner"
    try:
        inner.mkdir()
        if (made / "cpu.max").exists():
            (made / "cpu.max").write_text("150000 100000")
        else:
            (made / "cpu.cfs_quota_us").write_text("150000")
        yield made, inner
    finally:
        inner.rmdir()
        made.rmdir()


_IN_GROUP = """
import os, sys
from pathlib import Path
from engine.limits import cpu_quota, usable_cores
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
print(cpu_quota(), usable_cores())
"""


@pytest.mark.parametrize("namespace", [(), ("unshare", "--cgroup")])
def test_real_quota_of_the_parent_group_counts(
    namespace: tuple[str, ...], real_groups: tuple[Path, Path], repository: Path
) -> None:
    inside = f'echo $$ > {real_groups[1]}/cgroup.procs; exec "$@"'
    program = [sys.executable, "-c", _IN_GROUP, str(real_groups[1])]
    done = subprocess.run(
        ["sh", "-c", inside, "sh", *namespace, *program],
        cwd=repository, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "1.5 1\n", done.stderr


def test_more_used_than_allowed_leaves_zero(machine: Machine) -> None:
    machine.belongs("0::/")
    machine.group(".", **_v2(4 * GIB, 5, 0))
    assert machine.free() == 0


@pytest.mark.parametrize(
    ("quota", "processes", "cores"), [(50000, 1, 1), (300000, 1, 3), (300000, 2, 1), (10**8, 2, 8)]
)
def test_quota_is_divided_among_processes(quota: int, processes: int, cores: int, machine: Machine) -> None:
    machine.group(".", cpu__max=f"{quota} 100000")
    assert share_of_quota(8, processes, machine.proc, machine.cgroups) == cores


def test_affinity_is_the_limit_below_the_quota(machine: Machine) -> None:
    machine.group(".", cpu__max="100000000 100000")
    assert usable_cores(machine.proc, machine.cgroups) == len(os.sched_getaffinity(0))


def test_this_machine_reports_cores_and_memory() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))
    assert 0 < free_memory() <= usable_memory() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("value", "threads"), [(None, 8), ("", 8), ("1", 1), ("3,2", 3), ("0", 8), ("many", 8), ("16", 16)]
)
def test_omp_num_threads_sets_torchs_threads(value: str | None, threads: int) -> None:
    assert compute_threads(8, {} if value is None else {"OMP_NUM_THREADS": value}) == threads


def test_torchruns_own_omp_num_threads_is_ignored(tmp_path: Path) -> None:
    in_rank, launcher = {"OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "none"}, tmp_path / "environ"
    launcher.write_text("HOME=/\0PATH=/bin\0")
    assert compute_threads(8, in_rank, launcher) == 8
    launcher.write_text("HOME=/\0OMP_NUM_THREADS=1\0")
    assert compute_threads(8, in_rank, launcher) == 1
    assert compute_threads(8, {**in_rank, "OMP_NUM_THREADS": "2"}, launcher) == 2


def test_no_other_place_counts_cores_or_memory(repository: Path) -> None:
    """The doctor shows the affinity beside the limit; the others need core numbers, or the cores they are bound to.

    engine/system.py asks the system, for these.
    """
    numbers = {"engine/cli/doctor.py", "engine/train/ranks/cores.py", "engine/train/ranks/group.py"}
    found = {
        path.relative_to(repository).as_posix()
        for path in repository.glob("engine/**/*.py")
        if any(word in path.read_text(encoding="utf-8") for word in (
            "sched_getaffinity", "allowed_cores", "cpu_count", "cpu.max",
            "physical_memory", "virtual_memory", "MemAvailable", "SC_PHYS_PAGES",
        ))
    }  # fmt: skip
    assert found == numbers | {"engine/limits.py", "engine/system.py"}
