"""Where an averaged network goes, and its files: as a run's, with a card whose accuracies were measured on it."""

import os
from collections.abc import Sequence
from pathlib import Path

from engine.average.averaging import Average, Averaging
from engine.data.beton.pair import identity
from engine.errors import UserError
from engine.files import told_of_writing
from engine.runs.folder import MODEL, WEIGHTS
from engine.runs.model_card import ModelCard
from engine.train.checkpoints.run_weights import card_of, save_safetensors, save_weights

SUFFIXES = (".pt", ".pth", ".safetensors")
"""Of a single file; any other name is a folder's."""


def default_out(paths: Sequence[Path], *, greedy: bool) -> Path:
    """Beside the first run: RUN_swa of one run's checkpoints, else RUN_soup or RUN_greedy_soup."""
    first = paths[0]
    kind = "swa" if len(paths) == 1 else "greedy_soup" if greedy else "soup"
    stem = first.stem if first.suffix in SUFFIXES else first.name
    return first.parent / f"{stem}_{kind}"


def refuse_place(out: Path) -> None:
    """Raises UserError where `out` can't be written, or would replace something: better now than after the work."""
    taken = [path for path in files_of(out) if path.exists()]
    if taken or (out.exists() and not out.is_dir()):
        raise UserError(f"--out: {(taken or [out])[0]} exists: choose another name, or remove it")
    above = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(
            f"--out: {out} can't be written: {above} is no folder that may be written; choose another"
        )


def files_of(out: Path) -> list[Path]:
    """What is written: the file itself, or a folder's model.safetensors and weights.pt."""
    return [out] if out.suffix in SUFFIXES else [out / MODEL, out / WEIGHTS]


def card_of_average(averaging: Averaging, average: Average, out: Path) -> ModelCard:
    """The card, with the accuracies after the statistics were recomputed."""
    card = card_of(
        averaging.recipe.config,
        averaging.classes,
        averaging.train,
        average.after,
        averaged=False,
        data={"train": identity(averaging.train), "val": identity(averaging.val)},
        run=out.stem if out.suffix in SUFFIXES else out.name,
        recipe=averaging.recipe.name,
    )
    # A mean has the seed of none of them.
    return card.replaced(averaged=None, seed=None, ingredients=[*average.members])


def write_average(averaging: Averaging, average: Average, out: Path) -> list[Path]:
    """Write the files, and return them. Raises UserError, as for a full disk."""
    card = card_of_average(averaging, average, out)
    with told_of_writing(out, *out.parents):
        files_of(out)[0].parent.mkdir(parents=True, exist_ok=True)
    for path in files_of(out):
        (save_safetensors if path.suffix == ".safetensors" else save_weights)(path, averaging.model, card)
    return files_of(out)
