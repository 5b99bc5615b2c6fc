"""`python -m engine export RUN --to KIND`: trained weights as a package that other programs run, with its proof."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, EXIT_MISSED, UserError
from engine.train.ranks.process import limit_spinning

_DESCRIPTION = """Export trained weights as a package: a folder with the model, its labels, what it expects of images, \
an example that runs without this program, and a model card with what was measured.

The proof: the finished package classifies validation images, and its top-1 is compared with the network's own in \
PyTorch. Where it fell by more than --max-loss, nothing is kept and the exit code is 1.

Kinds: onnx, torchscript, pt2 (torch.export), openvino and coreml hold the network; safetensors, torchvision and timm \
hold weights for the program of that name; space is the folder of a Hugging Face Space, with the page of the demo."""


def main(argv: Sequence[str]) -> int:
    """Export and print the proof; returns 0, or 1 where the proof failed. Raises UserError for bad input."""
    asked = _parse(argv)
    # It acts on the import of torch.
    limit_spinning()
    with importing():
        from engine.export.export import Request, export
        from engine.export.target import Settings
        from engine.limits import limit_threads
        from engine.predict.trained import Given

    limit_threads()
    request = Request(
        weights=asked.weights,
        to=asked.to,
        settings=Settings(
            with_preprocessing=asked.with_preprocessing,
            int8=asked.int8,
            opset=asked.opset,
            dynamic=asked.dynamic,
        ),
        output=asked.output,
        val=asked.data,
        train=asked.train,
        proof=asked.proof,
        max_loss=asked.max_loss,
        names=asked.names,
        averaged=True if asked.averaged else None,
        given=Given(
            arch=asked.arch,
            use_blurpool=True if asked.blurpool else None,
            resolution=asked.resolution,
            ratio=asked.ratio,
            crop_law=asked.crop_law,
        ),
    )
    return EXIT_MISSED if export(request) is None else EXIT_DONE


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser("python -m engine export", _DESCRIPTION, "RUN --to KIND [options]")
    add = parser.add_argument
    add("weights", type=Path, metavar="RUN", help="folder of a run, or a file of weights")
    add("--to", required=True, metavar="KIND", help="kind of package: see above")
    add(
        "--with-preprocessing",
        action="store_true",
        help="the model takes uint8 images (n, height, width, 3) of any size, and crops, resizes and normalises them "
        "as validation does",
    )
    add(
        "--int8",
        action="store_true",
        help="quantise weights and activations to 8 bits, with 256 training images (onnx)",
    )
    add(
        "--dynamic",
        action="store_true",
        help="let height and width of the model's input vary (onnx, pt2, openvino)",
    )
    add(
        "--opset", type=int, default=0, metavar="N", help="version of ONNX' operators, 18 to 23 [default: 18]"
    )
    add(
        "--proof",
        type=int,
        default=0,
        metavar="N",
        help="images of the proof [default: all of the validation file]",
    )
    add(
        "--max-loss",
        type=float,
        metavar="POINTS",
        help="points of top-1 that may be lost [default: 0.1, with --int8 1.0]",
    )
    add(
        "--data", type=Path, metavar="FILE", help="validation .beton for the proof [default: that of the run]"
    )
    add("--train", type=Path, metavar="FILE", help="training .beton for --int8 [default: that of the run]")
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="the package [default: RUN/export/KIND, or beside the file]",
    )
    add(
        "--names",
        type=Path,
        metavar="FILE",
        help="readable class names, one a line, in the order of the outputs",
    )
    add("--averaged", action="store_true", help="take the averaged weights (EMA)")
    add("--arch", default="", metavar="NAME", help="network, of a file that does not say it")
    add("--blurpool", action="store_true", help="the file's network was trained with BlurPool")
    add("--resolution", type=int, default=0, metavar="PX", help="side of the input, of a file without it")
    add("--ratio", type=float, default=0.0, metavar="R", help="crop side / short side, of a file without it")
    add(
        "--crop-law",
        default="",
        choices=("fused", "torchvision"),
        help="how the crop is made, of a file without it",
    )
    asked = parser.parse_args(argv)
    if asked.proof < 0:
        raise UserError(f"--proof {asked.proof}: give a number of images, or drop it for all")
    if asked.max_loss is not None and not 0 <= asked.max_loss <= 100:
        raise UserError(f"--max-loss {asked.max_loss:g}: give 0 to 100 points of top-1")
    if asked.resolution < 0 or asked.ratio < 0 or asked.ratio > 1:
        raise UserError(
            "--resolution is in pixels, and --ratio above 0 and up to 1: drop them, or give such values"
        )
    return asked
