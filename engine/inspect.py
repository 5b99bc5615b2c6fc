"""`python -m engine inspect FILE`: what a .beton says about itself, after checking that it is whole."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.data.beton import Beton, open_beton
from engine.data.layout import describe_modes
from engine.data.progress import human_bytes


def main(argv: Sequence[str]) -> int:
    """Print the summary; 0 when the file is whole. Raises UserError when it is not."""
    parser = argparse.ArgumentParser(prog="python -m engine inspect", description=__doc__)
    parser.add_argument("file", type=Path, help="a .beton file, ours or stock ffcv's")
    beton = open_beton(parser.parse_args(argv).file)
    for name, value in summary(beton):
        print(f"{name:<12} {value}")
    return 0


def summary(beton: Beton) -> list[tuple[str, str]]:
    """Name and text of each line."""
    rows = [
        ("file", f"{beton.path}, {human_bytes(beton.path.stat().st_size)}"),
        ("images", f"{beton.num_samples:,} ({describe_modes(beton.images['mode'])})"),
    ]
    per_class = np.bincount(beton.labels, minlength=beton.num_classes)
    rows += [
        ("width", _spread(beton.images["width"], "px")),
        ("height", _spread(beton.images["height"], "px")),
        ("record", _spread(beton.sizes, "bytes")),
        ("checksums", "one for each image" if beton.checksums is not None else "none"),
        ("classes", f"{beton.num_classes:,}; images in one: {_spread(per_class, '')}".rstrip()),
    ]
    if beton.manifest is None:
        return [*rows, ("manifest", "none: written by stock ffcv, which stores no class names")]
    names = beton.manifest.classes
    shown = ", ".join(names[:10]) + (f", ... {names[-1]}" if len(names) > 10 else "")
    settings = ", ".join(f"{key}={value}" for key, value in beton.manifest.settings.items())
    return [*rows, ("names", shown), ("split", beton.manifest.split), ("settings", settings)]


def _spread(values: np.ndarray, unit: str) -> str:
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    return f"{low:,.0f} to {high:,.0f} {unit}".rstrip() + f", median {middle:,.0f}"
