"""Some images of a run's validation file, for visitors who have no picture at hand."""

from pathlib import Path

import numpy as np

from engine.data.beton.reader import Beton
from engine.data.decode.pillow_pixels import decode_rgb
from engine.data.edit.extract import extract
from engine.demo.demo_page import Sample
from engine.errors import UserError
from engine.predict.trained import Trained
from engine.runs.folder import CONFIG
from engine.runs.log_reader import read_config

COUNT = 6


def validation_file(trained: Trained) -> Path:
    """Where the run's config.yaml says that its validation file lies. Raises UserError where nothing says it."""
    if trained.run is None or not (trained.run / CONFIG).is_file():
        raise UserError(f"{trained.path} is not in a run's folder: give a file with --val")
    named = read_config(trained.run / CONFIG).get("data", {}).get("val_dataset")
    if not isinstance(named, str):
        raise UserError(f"{trained.run / CONFIG} names no validation file: give one with --val")
    return Path(named)


def samples_of(beton: Beton, trained: Trained, count: int = COUNT) -> list[Sample]:
    """`count` images of a validation file, of as many classes as there are; damaged ones are left out.

    Raises UserError where the file can't be read.
    """
    found = []
    for sample in _spread(beton, count):
        try:
            content = extract(beton, sample).content
            decode_rgb(content)
        except ValueError:
            continue
        found.append(Sample(content, _label(beton, sample, trained)))
    return found


def _spread(beton: Beton, count: int) -> list[int]:
    """Numbers of images: the first of classes that lie evenly among all, then the second of each, and so on."""
    classes = np.unique(beton.labels)
    chosen = []
    for number in range(min(count, beton.num_samples)):
        row, turn = number % len(classes), number // len(classes)
        if len(classes) > count:
            row, turn = number * len(classes) // count, 0
        of_class = np.flatnonzero(beton.labels == classes[row])
        if turn < len(of_class):
            chosen.append(int(of_class[turn]))
    return chosen


def _label(beton: Beton, sample: int, trained: Trained) -> str:
    """The readable name of the image's class, as the network's outputs have it."""
    label = int(beton.labels[sample])
    if beton.manifest is None:
        return trained.names[label] if label < len(trained.names) else str(label)
    own = beton.manifest.classes[label]
    return trained.names[trained.ids.index(own)] if own in trained.ids else own
