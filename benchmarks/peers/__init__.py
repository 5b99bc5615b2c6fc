"""Who can be measured: one file for each loader, all with the same signature, opened by name in a process of its own.

This file and base.py import nothing heavy: the measuring process stays out of the way of what it measures,
and a peer sets its thread counts only where it runs.
"""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import cast

from benchmarks.exports import EXPORTS, SOURCE
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
    needs: tuple[str, ...] = ()
    """Modules that have to be there and are not among the project's own requirements."""
    package: str = ""
    """What brings it, for `pip install`."""
    forms: tuple[str, ...] = ("host", "cpu", "cuda")
    """What its batches can end as."""

    def why_not(self, form: str) -> str:
        """Why it can't take part here, in words; empty where it can."""
        if not all(map(_is_installed, self.needs)):
            return f"it is not installed: pip install {self.package}"
        if form not in self.forms:
            return f"its batches end as {' or '.join(self.forms)}, not as {form}"
        return ""

    def load(self) -> ModuleType:
        """Import the contender, which may take seconds and set thread counts."""
        return importlib.import_module(self.module)

    def open_side(self, task: Task) -> Side:
        """Make the contender ready for `task`."""
        return cast(Side, self.load().open_side(task, **self.options))


_HERE = "benchmarks.peers."
_STOCK, _OURS = _HERE + "ffcv_stock", _HERE + "ours"

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
    "torchvision-pil": Contender(storage="files", module=_HERE + "torchvision_pil"),
    "torchvision-io": Contender(storage="files", module=_HERE + "torchvision_io"),
    "timm": Contender(storage="files", module=_HERE + "timm_loader", needs=("timm",), package="timm"),
    "simplejpeg": Contender(
        storage="files", module=_HERE + "simplejpeg_threads", needs=("simplejpeg",), package="simplejpeg"
    ),
    "dali-cpu": Contender(
        storage="files",
        module=_HERE + "dali",
        options={"decoder": "cpu"},
        needs=("nvidia.dali",),
        package="nvidia-dali-cuda130",
    ),
    "dali-gpu": Contender(
        storage="files",
        module=_HERE + "dali",
        options={"decoder": "mixed"},
        needs=("nvidia.dali",),
        package="nvidia-dali-cuda130",
        forms=("cuda",),
    ),
    "webdataset": Contender(
        storage="webdataset", module=_HERE + "webdataset_tar", needs=("webdataset",), package="webdataset"
    ),
    "litdata": Contender(
        storage="litdata", module=_HERE + "litdata_chunks", needs=("litdata",), package="litdata"
    ),
    "spdl": Contender(
        storage="files",
        module=_HERE + "spdl_pipeline",
        needs=("spdl.io", "spdl.pipeline"),
        package="spdl-io spdl-core",
    ),
}

# The method's own check: each of ours against itself. Whatever is found between two equals is its error.
SELF = "self"

# peer: which of ours stand against it where the user doesn't say.
_USUAL_OURS = {
    "ffcv-jpeg": ("jpeg", "yuv420", "yuv420-packed"),
    "ffcv-jpeg-kept": ("jpeg-kept",),
    "ffcv-raw": ("raw", "raw-packed"),
    SELF: ("jpeg",),
}
# The first of the very same JPEG data as the peer.
_USUAL_OURS_ELSE = ("jpeg-kept", "yuv420", "yuv420-packed")
# Stands for every peer on the images' own JPEG data that can take part here.
ALL = "all"
# Shorter for the peer that the project measures itself by.
_SHORT = {"ffcv": "ffcv-jpeg"}

FORMS = {
    "host": "uint8 RGB in host memory, NHWC or as the peer has it, ready to be copied to a device",
    "cpu": "float32, normalised, NCHW in channels_last memory, on the host",
    "cuda": "float16, normalised, NCHW in channels_last memory, on the GPU",
}
_PACKED_ON_HOST = (
    "the bytes of the crops as stored, packed in host memory, ready to be copied to a device, where resizing and "
    "colour conversion are still to be done and are NOT in this figure"
)


def peer_names() -> list[str]:
    """All that `--against` takes."""
    return sorted({*PEERS, *_SHORT, SELF, ALL})


def pairs(against: Sequence[str], ours: Sequence[str] | None, form: str = "host") -> list[tuple[str, str]]:
    """(ours, peer) by name, for each peer with those of `ours`, or its usual ones.

    Of "all", a peer that can't take part here is left out, and a line says so. Raises UserError naming the choices for
    a name that there is none of, and the reason for a peer that was asked for by name and can't take part.
    """
    for name in against:
        check_name("peer", name, peer_names())
    for name in ours or ():
        check_name("loader of ours", name, OURS)
    peers: dict[str, None] = {}
    for name in against:
        peers.update(dict.fromkeys(present(form) if name == ALL else [_SHORT.get(name, name)]))
    for peer in peers:
        reason = "" if peer == SELF else PEERS[peer].why_not(form)
        if reason:
            raise UserError(f"--against {peer}: {reason}")
    return [(our, peer) for peer in peers for our in ours or _USUAL_OURS.get(peer, _USUAL_OURS_ELSE)]


def present(form: str) -> list[str]:
    """All peers on the images' own JPEG data that can take part here; a line for each that can't."""
    found = []
    for name, peer in PEERS.items():
        if peer.storage not in (SOURCE, *EXPORTS):
            continue
        reason = peer.why_not(form)
        if reason:
            print(f"left out: {name}: {reason}", flush=True)
        else:
            found.append(name)
    return found


def opponent(ours: str, peer: str) -> Contender:
    """The contender that `peer` names, which for "self" is `ours` once more."""
    return OURS[ours] if peer == SELF else PEERS[peer]


def form_in_words(ours: str, peer: str, form: str) -> str:
    """What both sides' batches are when they count as ready; for "host" they may differ, and it says so."""
    packed = OURS[ours].options["decoder"] == "packed"
    if form != "host" or not packed:
        return FORMS[form]
    return _PACKED_ON_HOST if peer == SELF else f"ours: {_PACKED_ON_HOST}; the peer's: {FORMS[form]}"


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        # The package around it is missing already.
        return False


def check_name(kind: str, name: str, choices: Mapping[str, object] | Sequence[str]) -> None:
    """Raise UserError naming the choices, for a name that is none of them."""
    if name not in choices:
        raise UserError(f"no {kind} {name!r}{nearest(name, choices)}; choices: {', '.join(sorted(choices))}")
