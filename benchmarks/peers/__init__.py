"""Who can be measured: one file for each loader, all with the same signature, opened by name in a process of its own.

This file and base.py import nothing heavy: the measuring process stays out of the way of what it measures,
and a peer sets its thread counts only where it runs.
"""

import importlib
from dataclasses import dataclass
from typing import cast

from benchmarks.peers.base import Side, Task
from engine.errors import UserError
from engine.registry import nearest


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One side of a comparison."""

    storage: str
    """How the images lie in the file that it reads: output.format of write_dataset.py."""
    module: str
    """Has `open_side(task: Task) -> Side`."""


OURS = {
    "jpeg": Contender(storage="jpeg", module="benchmarks.peers.ours"),
    "raw": Contender(storage="raw", module="benchmarks.peers.ours"),
}
PEERS = {
    "ffcv-jpeg": Contender(storage="jpeg", module="benchmarks.peers.ffcv_stock"),
    "ffcv-raw": Contender(storage="raw", module="benchmarks.peers.ffcv_stock"),
    # The method's own check: whatever it finds between two equals is its error.
    "self": OURS["jpeg"],
}


def find_peer(name: str) -> Contender:
    """The peer of that name. Raises UserError naming the choices when there is none."""
    if name not in PEERS:
        raise UserError(f"no peer {name!r}{nearest(name, PEERS)}; choices: {', '.join(sorted(PEERS))}")
    return PEERS[name]


def open_side(contender: Contender, task: Task) -> Side:
    """Import the contender (which may take seconds and set thread counts) and make it ready for `task`."""
    return cast(Side, importlib.import_module(contender.module).open_side(task))
