"""What a record of a finished training takes from its log and its data, and the records that a file has already."""

import hashlib
import json
from pathlib import Path

from benchmarks.records.layouts import Record
from engine.data.beton.reader import open_beton
from engine.errors import UserError, describe_os_error
from engine.runs.log_schema import ResultLine


def top1_of(result: ResultLine, to: str, *, averaged: bool = False) -> Record:
    """Accuracies of the weights, or of their average, under keys that begin with `to`."""
    top1 = result.ema_top1 if averaged else result.top1
    no_tta = result.ema_top1_no_tta if averaged else result.top1_no_tta
    return {f"{to}top1_tta": top1 if result.tta else None, f"{to}top1_no_tta": no_tta}


def data_identity(path: Path) -> str:
    """A .beton in words: its name, its images, and a hash of its bytes."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    beton = open_beton(path)
    return f"{path.name}, {beton.num_samples} images stored as {beton.storage}, sha256 {digest[:16]}"


def read_lines(path: Path | None) -> list[Record]:
    """The records that the file of --json already has; none without a file. Raises UserError for another file."""
    if path is None or not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise describe_os_error(error, path, "read the records") from None
    except ValueError:
        raise UserError(f"--json {path} holds no records: choose another name") from None
