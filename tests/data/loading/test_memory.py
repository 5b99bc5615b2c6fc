"""What is free is the least of what the machine and each control group leave, in trees made up for it and here."""

from pathlib import Path

import psutil
import pytest

from engine.data.loading.page_cache import free_memory

GIB = 2**30


class Machine:
    """A /proc and a /sys/fs/cgroup with 64 GiB free and the groups that a test adds."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroups = root / "proc", root / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        self.cgroups.mkdir()
        (self.proc / "meminfo").write_text("MemTotal: 99 kB\nMemFree: 1 kB\nMemAvailable:   67108864 kB\n")
        self.belongs("5:cpu,cpuacct:/", "1:name=systemd:/")

    def belongs(self, *lines: str) -> None:
        (self.proc / "self" / "cgroup").write_text("".join(f"{line}\n" for line in lines))

    def group(self, path: str, **files: str) -> None:
        folder = self.cgroups / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(f"{text}\n")

    def free(self) -> float:
        """In GiB."""
        return free_memory(self.proc, self.cgroups) / GIB


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _v2(limit: object, used: int, cached: int) -> dict[str, str]:
    statistics = f"anon 7\nactive_file {cached * GIB // 2}\ninactive_file {cached * GIB // 2}"
    return {"memory__max": str(limit), "memory__current": str(used * GIB), "memory__stat": statistics}


def _v1(limit: int, used: int, cached: int) -> dict[str, str]:
    # The group's own figures are without those of the groups in it: the totals count.
    statistics = f"inactive_file 9\ntotal_inactive_file {cached * GIB}\ntotal_active_file 0"
    return {
        "memory__limit_in_bytes": str(limit),
        "memory__usage_in_bytes": str(used * GIB),
        "memory__stat": statistics,
    }


def test_no_cgroup_limit_gives_the_machines_memory(machine: Machine) -> None:
    assert machine.free() == 64
    machine.belongs("4:memory:/job")
    machine.group("memory/job", **_v1(2**63 - 4096, 1, 0))
    assert machine.free() == 64


def test_page_cache_counts_as_free(machine: Machine) -> None:
    machine.belongs("0::/job")
    machine.group("job", **_v2(20 * GIB, 15, 10))
    assert machine.free() == 20 - 15 + 10


def test_tightest_parent_group_is_the_limit(machine: Machine) -> None:
    machine.belongs("0::/slurm/job/step")
    machine.group("slurm", **_v2(50 * GIB, 20, 0))
    machine.group("slurm/job", **_v2(30 * GIB, 10, 2))
    machine.group("slurm/job/step", **_v2("max", 10, 2))
    assert machine.free() == 22


def test_cgroup_version_1_is_read(machine: Machine) -> None:
    machine.belongs("4:memory:/docker/abc", "0::/")
    machine.group("memory/docker/abc", **_v1(16 * GIB, 12, 8))
    assert machine.free() == 12


def test_container_root_is_read_as_the_own_group(machine: Machine) -> None:
    machine.belongs("4:memory:/docker/only-the-host-has-this")
    machine.group("memory", **_v1(16 * GIB, 12, 8))
    assert machine.free() == 12


def test_more_used_than_allowed_leaves_zero(machine: Machine) -> None:
    machine.belongs("0::/")
    machine.group(".", **_v2(4 * GIB, 5, 0))
    assert machine.free() == 0


def test_this_machine_reports_free_memory() -> None:
    assert 0 < free_memory() <= psutil.virtual_memory().total
