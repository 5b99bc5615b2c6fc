"""What `python -m benchmarks all` asks of each stage: so little that all of them take a few minutes on two cores.

Left out is the accuracy stage, which trains for hours and whose records are of another kind.
"""

from dataclasses import dataclass

from engine.report.machine import machine

# In JPEG data of photos more than four times 32 MB of L3 cache.
_IMAGES = "--images=2048"
_USUAL = ("--resolution=128", "--scale=0.35")
_LOADER = ("--batch=64", "--seconds=0.4")
_ALL_CORES = f"--cores={machine()['cores']}"


@dataclass(frozen=True, kw_only=True)
class Short:
    """One run of a stage."""

    what: str
    """In a few words."""
    options: tuple[str, ...] = ()
    takes_images: bool = True
    """Whether it takes --data."""
    needs_gpu: bool = False
    """Whether it is no failure that it does not run without one."""


SHORT: dict[str, tuple[Short, ...]] = {
    "read": (Short(what="page cache and disk", options=(_IMAGES,)),),
    "decode": (
        Short(
            what="every decoder",
            options=(_IMAGES, "--against=all,self", "--ours=jpeg-kept", *_USUAL, _ALL_CORES, "--seconds=0.3"),
        ),
        Short(
            what="storages, crops, cores 1 to all",
            options=(
                _IMAGES,
                "--ours=jpeg-kept,yuv420",
                "--resolution=224",
                "--scale=0.35,1",
                "--seconds=0.2",
            ),
        ),
    ),
    "loader": (
        Short(
            what="every peer on the same JPEG data",
            options=(_IMAGES, "--against=all,self", "--ours=jpeg-kept", *_USUAL, *_LOADER, _ALL_CORES),
        ),
        Short(
            what="storages against stock ffcv",
            options=(
                _IMAGES,
                "--against=ffcv",
                "--ours=jpeg,yuv420,yuv420-packed",
                *_USUAL,
                *_LOADER,
                "--cores=1",
            ),
        ),
    ),
    "copy": (Short(what="host to GPU", takes_images=False, needs_gpu=True),),
    "resize": (Short(what="on the GPU", needs_gpu=True),),
    "step": (
        Short(
            what="every peer",
            options=("--resolution=64", "--blurpool=off,on", "--seconds=0.5", "--batch=16"),
            takes_images=False,
        ),
    ),
    "train": (Short(what="every peer, an epoch of 1,024 images"),),
    "roofline": (Short(what="step and decoder", options=(_IMAGES, "--seconds=0.4")),),
    "startup": (Short(what="stock ffcv"),),
    "memory": (Short(what="stock ffcv, batches of 256", options=("--batch=256", "--ours=yuv420-packed")),),
    "convert": (
        Short(
            what="stock ffcv, kept where they fit",
            options=("--case=kept where they fit", "--seconds=1"),
        ),
    ),
    "overhead": (
        Short(what="the loop beside its steps", options=("--rounds=5", "--steps=30"), takes_images=False),
    ),
    "augment": (
        Short(
            what="MixUp and erasing",
            options=("--only=mixup,erasing-mean", "--batch=16", "--seconds=0.1"),
            takes_images=False,
        ),
    ),
    "blurpool": (
        Short(
            what="one network", options=("--part=network", "--batch=2", "--seconds=0.1"), takes_images=False
        ),
    ),
    "techniques": (
        Short(
            what="one of them",
            options=("--only=warm-up", "--arch=resnet18", "--seconds=0.2"),
            takes_images=False,
        ),
    ),
}
