"""An export from beginning to end: model, package, proof, and the folder's name only if the proof has passed."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from engine.config.load import load_train_config
from engine.data.beton.pair import identity
from engine.data.beton.reader import Beton, open_beton
from engine.errors import UserError
from engine.export import package
from engine.export.model_page import card_note, model_page, size_of
from engine.export.proof import chosen, labels_by_output, network_inputs, prove
from engine.export.proof_words import table, verdict
from engine.export.quantise import CALIBRATION_IMAGES
from engine.export.target import Settings, Target, all_targets, check_target
from engine.predict.trained import Given, Trained, load_trained
from engine.runs.folder import CONFIG

FP32_LOSS, INT8_LOSS = 0.1, 1.0
"""Points of top-1 that a package may lose, by default."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for; options as in engine/cli/export.py."""

    weights: Path
    to: str
    settings: Settings
    output: Path | None = None
    val: Path | None = None
    train: Path | None = None
    proof: int = 0
    max_loss: float | None = None
    names: Path | None = None
    averaged: bool | None = None
    given: Given | None = None


def export(request: Request) -> int | None:
    """Make the package and print its proof; None if top-1 fell too far, and nothing is left of it then.

    Otherwise the number of bytes in the package. Raises UserError for bad input.
    """
    target = all_targets()[request.to]
    trained = load_trained(
        request.weights, device="cpu", names=request.names, averaged=request.averaged, given=request.given
    )
    output = request.output or default_output(trained, request)
    package.refuse_existing(output)
    check_target(request.to, target, trained, request.settings)
    val = _data(request.val, trained, "val")
    labels_by_output(trained, val)
    print(f"weights: {trained.path}")
    for note in trained.notes:
        print(f"note: {note}")
    limit = request.max_loss
    if limit is None:
        limit = INT8_LOSS if request.settings.int8 else FP32_LOSS
    try:
        with package.new_folder(output) as folder, _settings(request, trained) as settings:
            _fill(folder, target, trained, settings, val, request, limit)
    except _Refused:
        return None
    print(f"\n{output}")
    return size_of(output)


class _Refused(Exception):
    """The proof has failed; the verdict is printed."""


def _fill(
    folder: Path,
    target: Target,
    trained: Trained,
    settings: Settings,
    val: Beton,
    request: Request,
    limit: float,
) -> None:
    """All files of the package. Raises _Refused."""
    target.write(trained, settings, folder)
    asked = package.preprocessing_of(trained, settings)
    package.write_preprocessing(folder, asked)
    package.write_labels(folder, trained)
    package.write_code(folder, target)
    proof = None
    if target.runs_here:
        fp32 = target.load(settings.beside) if settings.beside is not None else None
        proof = prove(trained, target.load(folder), asked, val, request.proof, fp32)
        print(f"proof on {proof.images:,} of the {proof.of:,} images of {val.path}:\n{table(proof)}")
        package.write_proof(folder, proof)
        print(verdict(proof, limit))
        if settings.beside is not None:
            print(_sizes(folder / target.file, settings.beside / target.file))
        if proof.lost_points > limit + 1e-9:
            raise _Refused
        if note := card_note(trained, proof, identity(val)):
            print(f"warning: {note}")
    else:
        print(f"warning: no proof: {target.unproven}")
    example = int(chosen(val, request.proof)[0])
    package.write_example(folder, val, example)
    page = model_page(folder, target, trained, settings, proof, val, limit)
    package.write_text(folder, package.README, page)
    target.finish(folder, trained, val)
    package.write_sums(folder)


def default_output(trained: Trained, request: Request) -> Path:
    """RUN/export/onnx-int8 of a run, NAME-onnx-int8 beside a file."""
    settings = request.settings
    words = [request.to, *(["preprocessing"] if settings.with_preprocessing else [])]
    name = "-".join([*words, *(["int8"] if settings.int8 else [])])
    if trained.run is not None:
        return trained.run / "export" / name
    return trained.path.with_name(f"{trained.path.stem}-{name}")


@contextmanager
def _settings(request: Request, trained: Trained) -> Iterator[Settings]:
    """The settings, with int8 those with calibration images and a folder for the model before it is quantised."""
    if not request.settings.int8:
        yield request.settings
        return
    train = _data(request.train, trained, "train")
    labels_by_output(trained, train)
    ids = chosen(train, CALIBRATION_IMAGES)
    images = torch.cat([batch for _, batch in network_inputs(trained, train, ids)])
    print(f"calibration: {len(images)} images of {train.path}", flush=True)
    with tempfile.TemporaryDirectory() as beside:
        yield replace(request.settings, calibration=np.ascontiguousarray(images.numpy()), beside=Path(beside))


def _data(given: Path | None, trained: Trained, split: str) -> Beton:
    """The validation or training file: the one given, or that of the run."""
    option, use = ("--data", "its proof") if split == "val" else ("--train", "calibration with --int8")
    if given is not None:
        return open_beton(given)
    config = None if trained.run is None else trained.run / CONFIG
    if config is None or not config.is_file():
        raise UserError(
            f"an export needs images for {use}: pass {option} FILE, a .beton of the network's classes"
        )
    path = Path(getattr(load_train_config(["-C", str(config)])[0].data, f"{split}_dataset"))
    if not path.is_file():
        raise UserError(f"{config} names {path} for {use}, and it is not there: pass {option} FILE")
    return open_beton(path)


def _sizes(quantised: Path, plain: Path) -> str:
    small, large = quantised.stat().st_size, plain.stat().st_size
    return f"size: {small / 1e6:.1f} MB, {small / large:.0%} of fp32's {large / 1e6:.1f} MB"
