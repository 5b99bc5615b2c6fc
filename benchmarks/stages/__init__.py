"""The registry of stages: a line of help each, and how `python -m benchmarks all` runs it in short.

A new stage is one file in this folder, named as the stage, with `main(argv) -> exit code`, one entry here, and the
columns of its table in benchmarks/records/layouts.py. A stage's module is imported only when it runs.
"""

import importlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# About 50 MB of JPEG data in made-up photos, more than a usual L3 cache.
_IMAGES = "--images=512"
_USUAL = f"{_IMAGES} --resolution=128 --scale=0.35"


@dataclass(frozen=True, kw_only=True)
class Short:
    """One short run of a stage, for `all` and `gate`: all stages together take some minutes on two cores."""

    what: str
    """In a few words."""
    options: str = ""
    """As on a command line; {cores} is the number of the machine's cores."""
    takes_images: bool = True
    """Whether it takes --data."""
    needs_gpu: bool = False
    """Whether it may fail without one."""

    def argv(self) -> list[str]:
        """The options, split."""
        from engine.runs.machine import machine

        return shlex.split(self.options.format(cores=machine()["cores"]))


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What can be measured."""

    help: str
    short: tuple[Short, ...] = ()
    """Empty: no part of `all`, since it compares ways of training or trains for hours."""


STAGES = {
    "read": Stage(
        help="read the images' bytes from the disk or the page cache",
        short=(Short(what="page cache and disk", options=_IMAGES),),
    ),
    "decode": Stage(
        help="decode records in memory to pixels, without a loader",
        short=(
            Short(
                what="every decoder",
                options=f"{_USUAL} --cores={{cores}} --against=all,self --ours=jpeg-kept --batch=16 --seconds=0.2",
            ),
        ),
    ),
    "loader": Stage(
        help="load batches from a .beton file to the host or the device",
        short=(
            Short(
                what="every peer on the same JPEG data",
                options=f"{_USUAL} --cores={{cores}} --against=all --ours=jpeg-kept --batch=16 --seconds=0.15",
            ),
            Short(
                what="packed crops against stock ffcv",
                options=f"{_USUAL} --cores=1 --against=ffcv --ours=yuv420-packed --batch=16 --seconds=0.2",
            ),
        ),
    ),
    "copy": Stage(
        help="copy batches from the host to the GPU",
        short=(Short(what="host to GPU", takes_images=False, needs_gpu=True),),
    ),
    "resize": Stage(
        help="finish packed crops to a batch, on the GPU alone",
        short=(Short(what="on the GPU", needs_gpu=True),),
    ),
    "step": Stage(
        help="one training step on images on the device",
        short=(
            Short(
                what="every peer",
                options="--resolution=64 --blurpool=off --batch=16 --seconds=0.2",
                takes_images=False,
            ),
        ),
    ),
    "train": Stage(
        help="an epoch from the file to the updated weights",
        short=(Short(what="every peer", options="--images=256"),),
    ),
    "roofline": Stage(
        help="how far a step and the decoder are from the machine's limits",
        short=(Short(what="step and decoder", options=f"{_IMAGES} --resolution=64 --seconds=0.2"),),
    ),
    "trace": Stage(help="launches and bytes of a compiled step on a GPU, from its code; needs none"),
    "startup": Stage(
        help="seconds to the first batch: cold, second start, new resolution",
        short=(Short(what="stock ffcv", options="--ours=jpeg --images=128 --start=second --batch=32"),),
    ),
    "memory": Stage(
        help="memory that a loader allocates",
        short=(
            Short(what="stock ffcv", options="--batch=32 --resolution=128 --ours=yuv420-packed --images=128"),
        ),
    ),
    "convert": Stage(
        help="convert image files to a .beton",
        short=(
            Short(
                what="stock ffcv, kept where they fit",
                options="'--case=kept where they fit' --seconds=0.2 --images=128",
            ),
        ),
    ),
    "overhead": Stage(
        help="time that the training loop adds to its steps",
        short=(Short(what="the loop beside its steps", options="--rounds=5 --steps=15", takes_images=False),),
    ),
    "predict": Stage(help="classes of a folder's images by a network, ours against timm's inference.py"),
    "augment": Stage(help="augment a batch on the device, ours against other libraries"),
    "blurpool": Stage(help="BlurPool fused and unfused, and other ways to blur"),
    "export": Stage(help="exported networks: ONNX Runtime in int8 and fp32, and PyTorch eager"),
    "remote": Stage(help="epochs over data on a server behind a slow line, ours and other libraries"),
    "techniques": Stage(help="time that each technique adds to a training step"),
    "accuracy": Stage(help="accuracy of a recipe, over several seeds"),
    "family": Stage(help="accuracy of a recipe by length, as a record that predictions stand on"),
    "contract": Stage(help="whether runs end in time, with the accuracy that was predicted"),
}


def entry(stage: str) -> Callable[[Sequence[str]], int]:
    """The stage's `main`, imported now."""
    run: Callable[[Sequence[str]], int] = importlib.import_module(f"{__name__}.{stage}").main
    return run
