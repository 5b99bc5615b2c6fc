"""How the CPU cores of a host are divided among the processes of a run.

By default every process uses all cores for its threads, and the system moves them between sockets. Here each process
gets its share instead: equal, disjoint, of adjacent cores, near its GPU. Only cores that the user or the scheduler
allows (taskset, SLURM's binding, a container's cpuset) are divided, and only among processes that are allowed the same
ones: processes that were bound to different cores keep them.
"""

import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from engine.devices import is_cuda
from engine.errors import UserError
from engine.system import allowed_cores, bind_thread, threads_of_process

_SYSTEM, _PCI = Path("/sys/devices/system"), Path("/sys/bus/pci/devices")


class Seat(NamedTuple):
    """Where a process runs, as it reports to the others."""

    host: str
    cores: frozenset[int]
    gpu_node: int | None
    """NUMA node of its GPU; None without a GPU or if the system does not report it."""


def seat_of(device: torch.device, pci: Path = _PCI) -> Seat:
    """This process's current seat, with `device` as its GPU."""
    return Seat(platform.node(), allowed_cores(), _gpu_node(device, pci) if is_cuda(device) else None)


def share_of_cores(rank: int, seats: Sequence[Seat], nodes: Mapping[int, Sequence[int]]) -> frozenset[int]:
    """The cores for the process of this rank, at least one. `seats` are those of all ranks; `nodes` are the cores of
    each NUMA node of its host.

    Processes that are allowed the same cores get equal parts, in the order of their GPUs' nodes. So a part crosses
    nodes only where they don't divide evenly, and no core is unused.
    """
    own = seats[rank]
    sharers = [other for other, seat in enumerate(seats) if (seat.host, seat.cores) == (own.host, own.cores)]
    near = {other: node for other in sharers if (node := seats[other].gpu_node) is not None}
    if len(near) == len(sharers):
        sharers.sort(key=near.__getitem__)
    cores = [core for node in sorted(nodes) for core in nodes[node] if core in own.cores]
    cores += sorted(own.cores.difference(cores))
    part = sharers.index(rank)
    start, stop = (len(cores) * edge // len(sharers) for edge in (part, part + 1))
    # With fewer cores than processes some share one.
    return frozenset(cores[start : max(stop, start + 1)])


def read_nodes(system: Path = _SYSTEM) -> dict[int, list[int]]:
    """The cores of each NUMA node of this host, both threads of a hyper-threaded core next to each other.

    Empty if the system does not report them.
    """
    nodes = {}
    for folder in (system / "node").glob("node[0-9]*"):
        cores = _parse_list((folder / "cpulist").read_text())
        nodes[int(folder.name.removeprefix("node"))] = sorted(
            cores, key=lambda core: (_first_sibling(system, core), core)
        )
    return nodes


def pin(cores: frozenset[int]) -> None:
    """Bind all threads of this process, present and future, to these cores, where the system can (macOS can't).

    Raises UserError if not permitted.
    """
    try:
        for thread in threads_of_process():
            # A thread may have ended meanwhile.
            with suppress(ProcessLookupError):
                bind_thread(thread, cores)
    except OSError as error:
        raise UserError(
            f"cannot keep to cores {sorted(cores)}: {error}; pass --data.pin_cores=false"
        ) from None


def _first_sibling(system: Path, core: int) -> int:
    path = system / "cpu" / f"cpu{core}" / "topology" / "thread_siblings_list"
    return min(_parse_list(path.read_text())) if path.is_file() else core


def _parse_list(text: str) -> list[int]:
    """Linux's list format: "0-3,8" is 0, 1, 2, 3, 8."""
    ranges = (part.split("-") for part in re.findall(r"[\d-]+", text))
    return [core for ends in ranges for core in range(int(ends[0]), int(ends[-1]) + 1)]


def _gpu_node(device: torch.device, pci: Path) -> int | None:
    properties: Any = torch.cuda.get_device_properties(device)
    # torch 2.7 has no PCI address yet.
    if not hasattr(properties, "pci_domain_id"):
        return None
    return node_of_pci(properties.pci_domain_id, properties.pci_bus_id, properties.pci_device_id, pci)


def node_of_pci(domain: int, bus: int, device: int, pci: Path = _PCI) -> int | None:
    """The NUMA node of a PCI device; None if the system does not report it."""
    path = pci / f"{domain:04x}:{bus:02x}:{device:02x}.0" / "numa_node"
    node = int(path.read_text()) if path.is_file() else -1
    # The kernel reports -1 for none.
    return node if node >= 0 else None
