"""Who can be measured: one file for each loader, all with the same signature, opened by name in a process of its own.

This file and base.py import nothing heavy: the measuring process stays out of the way of what it measures,
and a peer sets its thread counts only where it runs.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import cast

from benchmarks.peers.base import Side, Task
from engine.errors import UserError
from engine.registry import nearest


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One side of a comparison."""

    storage: str
    """How the images lie in the file that it reads (benchmarks.images)."""
    module: str
    """Has `open_side(task: Task, **options: str) -> Side`."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What `open_side` is told beside the task."""

    def load(self) -> ModuleType:
        """Import the contender, which may take seconds and set thread counts."""
        return importlib.import_module(self.module)

    def open_side(self, task: Task) -> Side:
        """Make the contender ready for `task`."""
        return cast(Side, self.load().open_side(task, **self.options))


_STOCK, _OURS = "benchmarks.peers.ffcv_stock", "benchmarks.peers.ours"

OURS = {
    "jpeg": Contender(storage="jpeg", module=_OURS, options={"decoder": "cpu"}),
    "jpeg-kept": Contender(storage="jpeg-kept", module=_OURS, options={"decoder": "cpu"}),
    "raw": Contender(storage="raw", module=_OURS, options={"decoder": "cpu"}),
    "raw-packed": Contender(storage="raw", module=_OURS, options={"decoder": "packed"}),
    "yuv420": Contender(storage="yuv420", module=_OURS, options={"decoder": "cpu"}),
    "yuv420-packed": Contender(storage="yuv420", module=_OURS, options={"decoder": "packed"}),
}
PEERS = {
    "ffcv-jpeg": Contender(storage="jpeg", module=_STOCK),
    "ffcv-jpeg-kept": Contender(storage="jpeg-kept", module=_STOCK),
    "ffcv-raw": Contender(storage="raw", module=_STOCK),
}

# The method's own check: each of ours against itself. Whatever is found between two equals is its error.
SELF = "self"

# peer: which of ours stand against it where the user doesn't say.
_USUAL_OURS = {"ffcv-jpeg-kept": ("jpeg-kept",), "ffcv-raw": ("raw", "raw-packed"), SELF: ("jpeg",)}
_USUAL_OURS_ELSE = ("jpeg", "yuv420", "yuv420-packed")
# Shorter for the peer that the project measures itself by.
_SHORT = {"ffcv": "ffcv-jpeg"}

FORMS = {
    "host": "uint8 RGB, NHWC, in host memory, ready to be copied to a device",
    "cpu": "float32, normalised, NCHW in channels_last memory, on the host",
    "cuda": "float16, normalised, NCHW in channels_last memory, on the GPU",
}
_PACKED_ON_HOST = (
    "the bytes of the crops as stored, packed in host memory, ready to be copied to a device, where resizing and "
    "colour conversion are still to be done and are NOT in this figure"
)


def peer_names() -> list[str]:
    """All that `--against` takes."""
    return sorted({*PEERS, *_SHORT, SELF})


def pairs(against: Sequence[str], ours: Sequence[str] | None) -> list[tuple[str, str]]:
    """(ours, peer) by name, for each peer with those of `ours`, or its usual ones.

    Raises UserError naming the choices for a name that there is none of.
    """
    for name in against:
        _check("peer", name, peer_names())
    for name in ours or ():
        _check("loader of ours", name, OURS)
    peers = dict.fromkeys(_SHORT.get(name, name) for name in against)
    return [(our, peer) for peer in peers for our in ours or _USUAL_OURS.get(peer, _USUAL_OURS_ELSE)]


def opponent(ours: str, peer: str) -> Contender:
    """The contender that `peer` names, which for "self" is `ours` once more."""
    return OURS[ours] if peer == SELF else PEERS[peer]


def form_in_words(ours: str, peer: str, form: str) -> str:
    """What both sides' batches are when they count as ready; for "host" they may differ, and it says so."""
    packed = OURS[ours].options["decoder"] == "packed"
    if form != "host" or not packed:
        return FORMS[form]
    return _PACKED_ON_HOST if peer == SELF else f"ours: {_PACKED_ON_HOST}; the peer's: {FORMS[form]}"


def _check(kind: str, name: str, choices: Mapping[str, object] | Sequence[str]) -> None:
    if name not in choices:
        raise UserError(f"no {kind} {name!r}{nearest(name, choices)}; choices: {', '.join(sorted(choices))}")
