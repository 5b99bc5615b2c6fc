"""The package: one folder, made under a temporary name and renamed when its proof has passed.

model file    labels.json   labels.txt   preprocessing.json   example.py   runtime.py   requirements.txt
example.jpg or example.png  proof.json   README.md            SHA256SUMS
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from engine.data.beton.reader import Beton
from engine.data.edit.extract import pixels_of
from engine.errors import UserError
from engine.export.proof import Proof, image_bytes
from engine.export.target import Settings, Target
from engine.files import sync_folder, told_of_writing
from engine.models.build import ARGUMENTS
from engine.predict.trained import Trained

README, PROOF, SUMS = "README.md", "proof.json", "SHA256SUMS"
PREPROCESSING, LABELS = "preprocessing.json", "labels.json"
_CODE = Path(__file__).parent / "package_code"
_IMPORT = "engine.export.package_code.run_onnxruntime"


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that becomes `path` when the block ends without an error; else nothing is left of it.

    Raises UserError where `path` is there already, or can't be made.
    """
    refuse_existing(path)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    with told_of_writing(path, partial):
        try:
            partial.mkdir(parents=True)
            yield partial
            partial.rename(path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync_folder(path.parent)


def refuse_existing(path: Path) -> None:
    """Raise UserError where there is something already."""
    if path.exists() or path.is_symlink():
        raise UserError(f"{path} exists already: remove it, or choose another --output")


def preprocessing_of(trained: Trained, settings: Settings) -> dict[str, Any]:
    """The content of preprocessing.json, which example.py reads."""
    card, asked = trained.card, trained.card.preprocessing
    side: int | str = "any" if settings.dynamic else asked.resolution
    return {
        "input": "images",
        "in_model": settings.with_preprocessing,
        "dtype": "uint8" if settings.with_preprocessing else "float32",
        "shape": ["n", "height", "width", 3] if settings.with_preprocessing else ["n", 3, side, side],
        "channels": "RGB",
        "resolution": asked.resolution,
        "ratio": asked.ratio,
        "crop_law": asked.crop_law,
        "filter": "bilinear, antialiased",
        "mean": asked.mean,
        "std": asked.std,
        "exif": asked.exif or "ignore",
        "arch": card.arch,
        "num_classes": card.num_classes,
        "arguments": ARGUMENTS.get(card.arch, {}),
    }


def write_labels(folder: Path, trained: Trained) -> None:
    """labels.txt, a name a line, and labels.json, ids and names, both in the order of the outputs."""
    rows = [{"id": one, "name": name} for one, name in zip(trained.ids, trained.names, strict=True)]
    _write(folder / LABELS, json.dumps(rows, indent=1))
    # A name may hold anything but the end of its line.
    _write(folder / "labels.txt", "\n".join(" ".join(name.splitlines()) for name in trained.names))


def write_code(folder: Path, target: Target) -> None:
    """example.py, and runtime.py, which loads the model."""
    _write(
        folder / "example.py", (_CODE / "example.py").read_text(encoding="utf-8").replace(_IMPORT, "runtime")
    )
    _write(
        folder / "runtime.py", (_CODE / f"{target.code}.py").read_text(encoding="utf-8").replace(_IGNORE, "")
    )
    _write(folder / "requirements.txt", "\n".join(sorted(["numpy", "pillow", *target.requirements])))


_IGNORE = "  # type: ignore[import-untyped]"


def write_example(folder: Path, beton: Beton, sample: int) -> None:
    """An image of the validation file: its own JPEG, or a PNG."""
    record, suffix = image_bytes(beton, sample)
    if not suffix:
        png = BytesIO()
        Image.fromarray(pixels_of(beton, sample, record)).save(png, "png")
        record, suffix = png.getvalue(), ".png"
    (folder / f"example{suffix}").write_bytes(record)


def write_proof(folder: Path, proof: Proof) -> None:
    """proof.json."""
    _write(folder / PROOF, json.dumps(proof.to_json(), indent=1))


def write_preprocessing(folder: Path, asked: dict[str, Any]) -> None:
    """preprocessing.json."""
    _write(folder / PREPROCESSING, json.dumps(asked, indent=1))


def write_sums(folder: Path) -> None:
    """SHA256SUMS of every other file, which `sha256sum -c SHA256SUMS` checks."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}"
        for path in files
    ]
    _write(folder / SUMS, "\n".join(lines))


def write_text(folder: Path, name: str, text: str) -> None:
    """A text file of the package."""
    _write(folder / name, text)


def _write(path: Path, text: str) -> None:
    # The folder has its name only when all is in it, and names may be no valid UTF-8.
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
