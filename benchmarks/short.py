"""What `python -m benchmarks all` asks of each stage: so little that all of them take a few minutes on two cores.

Left out are augment, blurpool and techniques, which tell ways of training apart, and accuracy, which trains for hours.
"""

from dataclasses import dataclass

from engine.report.machine import machine

# Of photos some 50 MB of JPEG data, more than a usual L3 cache.
_IMAGES = "--images=512"
_USUAL = f"{_IMAGES} --resolution=128 --scale=0.35"
_ALL_CORES = f"--cores={machine()['cores']}"


@dataclass(frozen=True, kw_only=True)
class Short:
    """One run of a stage."""

    what: str
    """In a few words."""
    options: str = ""
    """As on a command line."""
    takes_images: bool = True
    """Whether it takes --data."""
    needs_gpu: bool = False
    """Whether it is no failure that it does not run without one."""


SHORT: dict[str, tuple[Short, ...]] = {
    "read": (Short(what="page cache and disk", options=_IMAGES),),
    "decode": (
        Short(
            what="every decoder",
            options=f"{_USUAL} {_ALL_CORES} --against=all,self --ours=jpeg-kept --batch=16 --seconds=0.2",
        ),
    ),
    "loader": (
        Short(
            what="every peer on the same JPEG data",
            options=f"{_USUAL} {_ALL_CORES} --against=all --ours=jpeg-kept --batch=16 --seconds=0.15",
        ),
        Short(
            what="packed crops against stock ffcv",
            options=f"{_USUAL} --cores=1 --against=ffcv --ours=yuv420-packed --batch=16 --seconds=0.2",
        ),
    ),
    "copy": (Short(what="host to GPU", takes_images=False, needs_gpu=True),),
    "resize": (Short(what="on the GPU", needs_gpu=True),),
    "step": (
        Short(
            what="every peer",
            options="--resolution=64 --blurpool=off --batch=16 --seconds=0.2",
            takes_images=False,
        ),
    ),
    "train": (Short(what="every peer", options="--images=256"),),
    "roofline": (Short(what="step and decoder", options=f"{_IMAGES} --resolution=64 --seconds=0.2"),),
    "startup": (Short(what="stock ffcv", options="--ours=jpeg --images=128 --start=second --batch=32"),),
    "memory": (
        Short(what="stock ffcv", options="--batch=32 --resolution=128 --ours=yuv420-packed --images=128"),
    ),
    "convert": (
        Short(
            what="stock ffcv, kept where they fit",
            options="'--case=kept where they fit' --seconds=0.2 --images=128",
        ),
    ),
    "overhead": (
        Short(what="the loop beside its steps", options="--rounds=5 --steps=15", takes_images=False),
    ),
}
