"""`python -m engine predict RUN IMAGE...`: the classes of images by trained weights."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, EXIT_MISSED, UserError
from engine.predict.weights_options import add_weights_options, given_of
from engine.train.ranks.process import limit_spinning

if TYPE_CHECKING:
    from engine.predict.grad_cam import CamFolder
    from engine.predict.trained import Trained

_DESCRIPTION = """Say which classes images are of, by the weights of a run or of a file.

RUN is a run's folder (runs/NAME) or a file of weights: ours, torchvision's, timm's, Lightning's, ffcv-imagenet's or \
another checkpoint, or safetensors. Weights of ours say their network, classes and preprocessing; for others --arch \
names the network.

IMAGE is a file, a folder (all images below it), a pattern in quotes ('photos/**/*.jpg'), a URL, or - for stdin: an \
image, or a list of such names, one a line. Odd images (gray, CMYK, transparent, 16 bits) are read as in a conversion. \
An image that can't be read is a line with its error, and does not end the rest.

Exit code: 0 all images were predicted, 1 some could not be read."""


def main(argv: Sequence[str]) -> int:
    """Predict and print; returns 0, or 1 where images could not be read. Raises UserError for bad input."""
    asked = _parse(argv)
    # It acts on the import of torch.
    limit_spinning()
    with importing():
        from engine.limits import limit_threads
        from engine.predict.gather import gather
        from engine.predict.output import COLUMN, Features, csv_header, lines
        from engine.predict.predictor import Predictor
        from engine.predict.trained import load_trained
        from engine.progress import Progress, human_rate, human_time
        from engine.train.ranks.process import keep_freed_memory

    form = "json" if asked.json else "csv" if asked.csv else "text"
    in_lines = asked.features == COLUMN
    if in_lines and form == "text":
        raise UserError(f"--features {COLUMN} needs --csv or --json: add one, or name a .npy or .npz file")
    file = Features(Path(asked.features)) if asked.features and not in_lines else None
    keep_freed_memory()
    limit_threads()
    images = gather(asked.images)
    runs = []
    for path in [asked.run, *asked.ensemble]:
        run = load_trained(
            path, device=asked.device, names=asked.names, averaged=asked.averaged, given=given_of(asked)
        )
        for note in run.notes:
            print(f"note: {note}", file=sys.stderr)
        runs.append(run)
    failed, top_k = 0, min(asked.top_k, runs[0].card.num_classes)
    cams = _cams(asked, runs) if asked.cam else None
    if form == "csv":
        print(csv_header(top_k, features=in_lines))
    # On a terminal the lines are the progress.
    progress = Progress("predicting", len(images), shown=not sys.stdout.isatty())
    with (
        Predictor(runs, tta=asked.tta, workers=asked.workers, precision=asked.precision) as predictor,
        progress,
    ):
        found = predictor.predict_batch(images, asked.batch, top_k, features=bool(asked.features))
        for image, (line, prediction) in zip(
            images, lines(found, form, top_k, features=in_lines), strict=True
        ):
            print(line)
            if cams is not None:
                cams.add(image, prediction)
            failed += prediction.error is not None
            if file is not None:
                file.add(prediction)
            progress.update(1)
    rate = human_rate(len(images), progress.seconds, "images")
    print(f"{len(images):,} images in {human_time(progress.seconds)} ({rate})", file=sys.stderr)
    if file is not None:
        print(f"{file.path}: {' x '.join(map(str, file.write()))} features", file=sys.stderr)
    if failed:
        print(f"warning: {failed:,} of {len(images):,} images could not be read", file=sys.stderr)
    return EXIT_MISSED if failed else EXIT_DONE


def _cams(asked: argparse.Namespace, runs: "Sequence[Trained]") -> "CamFolder":
    with importing():
        from engine.predict.grad_cam import CamFolder

    if len(runs) > 1:
        raise UserError("--cam is of one network: drop --ensemble")
    return CamFolder(runs[0], asked.cam)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser("python -m engine predict", _DESCRIPTION, "RUN IMAGE... [options]")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder or a file of weights")
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="a file, folder, pattern, URL, or - for stdin"
    )
    add = parser.add_argument
    add("--top-k", type=_count, default=5, metavar="K", help="print the K likeliest classes; default 5")
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument(
        "--csv", action="store_true", help="print a table: source, error, id, name, probability"
    )
    forms.add_argument("--json", action="store_true", help="print a JSON object for each image, one a line")
    add("--batch", type=_count, default=32, metavar="N", help="images in a forward pass; default 32")
    add("--tta", action="store_true", help="average the probabilities of each image and its mirror image")
    add(
        "--ensemble",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="further runs of the same classes: the mean of all their probabilities; goes behind the images",
    )
    add(
        "--features",
        default="",
        metavar="FILE",
        help="also write the classifier's inputs (embeddings) to FILE, .npy or .npz, a row for each image; `column`: "
        "into each line of --csv or --json",
    )
    add(
        "--cam",
        type=Path,
        metavar="FOLDER",
        help="also write each image with Grad-CAM of its predicted class over it, as PNG, to FOLDER",
    )
    add(
        "--names",
        type=Path,
        metavar="FILE",
        help="readable class names, one a line in the order of the outputs",
    )
    add(
        "--averaged",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="take the averaged weights (EMA), or not; default: those that the run's verdict is about",
    )
    add(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="auto (a GPU if there is one), cpu, cuda, cuda:N, mps or xpu",
    )
    add("--precision", default="fp32", choices=("fp32", "bf16", "fp16", "auto"), help="default fp32")
    add(
        "--workers",
        type=_count,
        default=0,
        metavar="N",
        help="threads that decode; default: one for each core",
    )
    add_weights_options(parser)
    asked = parser.parse_args(argv)
    if asked.features and asked.ensemble:
        raise UserError("--features are of one network: leave out --ensemble")
    return asked


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100_000:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 100,000")
    return value
