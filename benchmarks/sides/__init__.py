"""The registry of sides: ours and the peers, by the stage they serve and their name.

A new peer is one file in this folder and one `register` line here. Nothing heavy is imported: a side's module is
loaded only in the process that runs it, so that no side changes the thread counts of another one.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from benchmarks.harness.images.exports import SOURCE
from engine.errors import UserError
from engine.registry import nearest

T = TypeVar("T")

SAME = "as ours"
"""Storage of a peer that reads the same file as our side."""

SELF = "self"
"""The peer that is our own side once more; what it shows is the error of the method."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison."""

    entry: str
    """`module:function`; called with the task and `options`, it returns the side ready to work."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Keyword arguments of the entry beside the task."""
    storage: str = ""
    """How its images are stored (benchmarks.harness.images)."""
    what: str = ""
    """A few words for --help."""
    needs: tuple[str, ...] = ()
    """Modules that the project's own requirements don't bring."""
    package: str = ""
    """Their packages, for `pip install`."""
    forms: tuple[str, ...] = ("host", "cpu", "cuda")
    """Forms in which it can deliver batches (benchmarks.harness.pairing.FORMS)."""
    meets: tuple[str, ...] = (SOURCE, "yuv420", "yuv420-packed")
    """Our sides that a peer is compared with by default; the first one reads the same JPEG data."""

    def load(self) -> Callable[..., Any]:
        """Import the entry. May take seconds and set thread counts."""
        module, _, function = self.entry.partition(":")
        entry: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return entry

    def open_side(self, task: Any) -> Any:
        """The side, ready for `task`."""
        return self.load()(task, **self.options)

    def why_not(self, form: str = "host") -> str:
        """Why it can't run here; empty where it can."""
        if not all(map(_is_installed, self.needs)):
            return f"it is not installed: pip install {self.package}"
        if form not in self.forms:
            return f"its batches end as {' or '.join(self.forms)}, not as {form}"
        return ""


@dataclass(frozen=True, kw_only=True)
class StepSide(Side):
    """A training step."""

    blurs: bool = True
    """Whether it has BlurPool."""
    blurs_as_ours: bool = True
    """Whether its network with BlurPool is the same as ours."""
    our_networks: bool = True
    """Whether it trains the networks that only this project has."""


OURS: dict[str, dict[str, Side]] = {}
"""Our sides by stage and name."""
PEERS: dict[str, dict[str, Side]] = {}
"""The peers by stage and name."""


def register(stage: str, name: str, side: Side, *, ours: bool = False) -> None:
    """Enter a side. Raises ValueError for a name that the stage already has."""
    entries = (OURS if ours else PEERS).setdefault(stage, {})
    if name in entries:
        raise ValueError(f"side {name!r} of stage {stage!r} is registered twice")
    entries[name] = side


def our_side(stage: str, name: str) -> Side:
    """Our side of that name. Raises UserError with the nearest name where there is none."""
    return choose("side of ours", name, OURS[stage])


def peer_side(stage: str, name: str) -> Side:
    """The peer of that name. Raises UserError with the nearest name where there is none."""
    return choose("peer", name, PEERS[stage])


def opponent(stage: str, ours: str, peer: str) -> Side:
    """The peer as it meets `ours`: our own side for SELF, on the same storage for SAME."""
    if peer == SELF:
        return our_side(stage, ours)
    side = peer_side(stage, peer)
    return replace(side, storage=our_side(stage, ours).storage) if side.storage == SAME else side


def choose(kind: str, name: str, choices: Mapping[str, T]) -> T:
    """The entry `name` of `choices`. Raises UserError with the nearest name and all choices."""
    check_name(kind, name, choices)
    return choices[name]


def check_name(kind: str, name: str, choices: Iterable[str]) -> None:
    """Raise UserError where `name` is not among `choices`."""
    known = sorted(choices)
    if name not in known:
        raise UserError(f"no {kind} {name!r}{nearest(name, known)}; choices: {', '.join(known)}")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        # Its parent package is missing.
        return False


def _ours(stage: str, name: str, entry: str, **facts: Any) -> None:
    register(stage, name, Side(entry=f"{__name__}.{entry}", **facts), ours=True)


def _peer(stage: str, name: str, entry: str, **facts: Any) -> None:
    register(stage, name, Side(entry=f"{__name__}.{entry}", **facts))


def _step(name: str, entry: str, *, ours: bool = False, **facts: Any) -> None:
    register("step", name, StepSide(entry=f"{__name__}.steps.{entry}:open_side", **facts), ours=ours)


# Loaders, for the stages loader, memory and startup.
for _name, _storage, _decoder in (
    ("jpeg", "jpeg", "cpu"),
    ("jpeg-kept", "jpeg-kept", "cpu"),
    ("raw", "raw", "cpu"),
    ("raw-packed", "raw", "packed"),
    ("yuv420", "yuv420", "cpu"),
    ("yuv420-packed", "yuv420", "packed"),
):
    _loader = {"storage": _storage, "options": {"decoder": _decoder}}
    _ours("loader", _name, "loaders.ours_loader:open_side", **_loader)
    _how = {"storage": _storage, "options": {"how": "pack" if _decoder == "packed" else "decode"}}
    _ours("decode", _name, "decoders.ours_decoder:open_side", **_how)
_ours(
    *("loader", "jpeg-gpu", "loaders.ours_loader:open_side"),
    storage="jpeg-kept",
    options={"decoder": "gpu"},
    needs=("nvidia.nvimgcodec",),
    package="'nvidia-nvimgcodec-cu13[nvjpeg]' 'nvidia-nvjpeg>=13.2'",
    forms=("cuda",),
)
_STOCK_FFCV: dict[str, Any] = {
    "needs": ("ffcv",),
    "package": "ffcv==1.0.2 (this program's extra ffcv; it is compiled, for which `make setup` names the packages)",
}
_FFCV = "loaders.ffcv_stock:open_side"
_peer("loader", "ffcv-jpeg", _FFCV, storage="jpeg", meets=("jpeg", "yuv420", "yuv420-packed"), **_STOCK_FFCV)
_peer("loader", "ffcv-jpeg-kept", _FFCV, storage="jpeg-kept", meets=("jpeg-kept",), **_STOCK_FFCV)
_peer("loader", "ffcv-raw", _FFCV, storage="raw", meets=("raw", "raw-packed"), **_STOCK_FFCV)
_peer("loader", "torchvision-pil", "loaders.torchvision_folder:open_pil", storage="files")
_peer("loader", "torchvision-io", "loaders.torchvision_folder:open_io", storage="files")
_TIMM: dict[str, Any] = {"needs": ("timm",), "package": "timm"}
_peer("loader", "timm", "loaders.timm_loader:open_side", storage="files", **_TIMM)
_SIMPLEJPEG = {"needs": ("simplejpeg",), "package": "simplejpeg"}
_peer("loader", "simplejpeg", "loaders.simplejpeg_threads:open_side", storage="files", **_SIMPLEJPEG)
_DALI: dict[str, Any] = {"storage": "files", "needs": ("nvidia.dali",), "package": "nvidia-dali-cuda130"}
_peer("loader", "dali-cpu", "loaders.dali:open_side", options={"decoder": "cpu"}, **_DALI)
_peer("loader", "dali-gpu", "loaders.dali:open_side", options={"decoder": "mixed"}, forms=("cuda",), **_DALI)
_WEBDATASET = {"needs": ("webdataset",), "package": "webdataset"}
_peer("loader", "webdataset", "loaders.webdataset_tar:open_side", storage="webdataset", **_WEBDATASET)
_LITDATA = {"needs": ("litdata",), "package": "litdata"}
_peer("loader", "litdata", "loaders.litdata_chunks:open_side", storage="litdata", **_LITDATA)
_SPDL = {"needs": ("spdl.io", "spdl.pipeline"), "package": "spdl-io spdl-core"}
_peer("loader", "spdl", "loaders.spdl_pipeline:open_side", storage="files", **_SPDL)

# Decoders of records in memory.
_JPEGS = "decoders.jpeg_libraries"
_peer("decode", "pillow", f"{_JPEGS}:open_pillow", storage=SOURCE)
_peer("decode", "torchvision-io", f"{_JPEGS}:open_torchvision", storage=SOURCE)
_peer("decode", "opencv", f"{_JPEGS}:open_opencv", storage=SOURCE)
_peer("decode", "simplejpeg", f"{_JPEGS}:open_simplejpeg", storage=SOURCE, **_SIMPLEJPEG)

# Ways to read the images' bytes.
_ours("read", "mapped", "readers:mapped", storage=SOURCE)
_ours("read", "windows", "readers:windows", storage=SOURCE)
_peer("read", "single-files", "readers:single_files", storage="files")
_peer("read", "tar-shards", "readers:tar_shards", storage="webdataset")
_peer("read", "whole-file", "readers:whole_file", storage=SOURCE)

# Writers of .beton files.
_ours("convert", "ours", "converters:ours")
_peer("convert", "ffcv", "converters:ffcv", **_STOCK_FFCV)

# Classes of images.
_ours("predict", "ours", "predictors:ours")
_peer("predict", "timm", "predictors:timm", **_TIMM)

# Training steps.
_step("ours", "ours_step", ours=True, what="engine.train.step.step.Step")
_step("ffcv-imagenet", "ffcv_imagenet", what="the plain eager AMP step of ffcv-imagenet")
_step(
    "torchvision",
    "torchvision_reference",
    what="the AMP step of torchvision's reference scripts; has no BlurPool",
    blurs=False,
)
_step(
    "timm",
    "timm_train",
    what="timm's network and its train.py's step",
    blurs_as_ours=False,
    our_networks=False,
    **_TIMM,
)

# The training loop; its bare steps run in the same process.
_ours(
    "overhead", "loop", "trainings.trainer_loop:Loop", what="the epoch loop of engine.train.trainer.Trainer"
)

# Whole training: a loader and its step.
_TRAINER = "trainings.ours_training:open_side"
for _name in (SOURCE, "jpeg", "yuv420", "raw"):
    _ours("train", _name, _TRAINER, storage=_name, options={"batches": "file"}, what="the trainer")
_peer(
    "train",
    "replay",
    _TRAINER,
    storage=SAME,
    options={"batches": "replay"},
    what="the trainer with batches loaded before",
)
_STOCK = "trainings.stock_training:open_side"
_peer(
    "train",
    "ffcv-imagenet",
    _STOCK,
    storage="jpeg",
    options={"loader": "ffcv-jpeg", "step": "ffcv-imagenet"},
    what="stock ffcv's loader and the plain eager AMP step of ffcv-imagenet",
    **_STOCK_FFCV,
)
_peer(
    "train",
    "torchvision",
    _STOCK,
    storage="files",
    options={"loader": "torchvision-io", "step": "torchvision"},
    what="torchvision.io's loader and the step of its reference scripts",
)

# Augmentations on the device.
_peer("augment", "torchvision", "augmenters:torchvision_uses")
_peer("augment", "kornia", "augmenters:kornia_uses", needs=("kornia",), package="kornia")
