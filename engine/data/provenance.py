"""What a file's content follows from: settings and versions, for its manifest and its journal, and whether its images
are still those of an interrupted run.

Nothing here depends on the time, the machine's paths or the number of workers.
"""

import dataclasses
import hashlib
import importlib.metadata
import json

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

import engine
from engine.config.write_schema import OutputConfig, RulesConfig
from engine.data.duplicates import digest_of
from engine.data.plan import Plan
from engine.data.sources import Source
from engine.data.transcode import encoder_name

# The options that decide what is stored; order, shard and license are told apart from them, and the others (workers,
# folder, overwrite) change nothing.
_SETTINGS = (
    "format",
    "max_resolution",
    "short_side",
    "jpeg_quality",
    "jpeg_subsampling",
    "jpeg_unchanged",
    "jpeg_check",
    "compress_probability",
    "subset",
    "page_size",
    "seed",
)


def settings(output: OutputConfig) -> dict[str, object]:
    """The options that decide the file's content."""
    return {name: getattr(output, name) for name in _SETTINGS}


def rules_as_text(rules: RulesConfig) -> dict[str, str]:
    """Kind of odd image -> what becomes of it."""
    return {kind: str(rule) for kind, rule in dataclasses.asdict(rules).items()}


def versions() -> dict[str, str]:
    """Tool -> version, of all that may change a byte."""
    return {
        "encoder": encoder_name(),
        "engine": engine.__version__,
        "ffcv": importlib.metadata.version("ffcv"),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
    }


def fingerprint(plan: Plan, output: OutputConfig) -> str:
    """Differs for plans and settings that make different files, whatever the rules; their images are not read."""
    state = hashlib.sha256()
    images = plan.images
    facts = [plan.split, images.kind, images.classes, settings(output), output.order, output.shard]
    state.update(json.dumps([*facts, output.license, versions()]).encode("ascii"))
    state.update(plan.numbers.tobytes())
    state.update(plan.modes.tobytes())
    state.update(np.asarray(images.labels, np.int64).tobytes())
    for name, place in zip(images.ids, images.places, strict=True):
        state.update(f"{name}\0{place!r}\0".encode("utf-8", "surrogatepass"))
    return state.hexdigest()


def changed(images: Source, stored: NDArray[np.void]) -> str:
    """Whether one of these images, which an interrupted run has stored (STORED), is another one now, in words.

    Raises UserError when one can't be read any more: a run begun anew could not read it either.
    """
    for number, digest in zip(stored["number"].tolist(), stored["digest"], strict=True):
        if digest_of(images.read(number)) != digest.tobytes():
            return f"its images have changed since: {images.where(number)} is another one now"
    return ""
