"""From a trained network and a file to the page of mistakes, and what the terminal says of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from engine.data.beton.pair import identity
from engine.data.beton.reader import Beton
from engine.errors import UserError
from engine.predict.grad_cam import GradCam
from engine.predict.mistakes.judged import Judged, judge
from engine.predict.mistakes.mistakes_page import Page, Subject
from engine.predict.mistakes.outputs import outputs_of
from engine.predict.mistakes.selection import Selection, choose
from engine.predict.mistakes.thumbnails import thumbnails
from engine.report import text
from engine.runs.folder import CONFIG
from engine.runs.log_reader import read_config
from engine.train.step.precision import choose_precision

if TYPE_CHECKING:
    from engine.predict.trained import Trained

_PAIRS = 4


@dataclass(frozen=True)
class Found:
    """The page, and lines for the terminal."""

    page: str
    lines: tuple[str, ...]


def validation_file(trained: "Trained") -> Path:
    """The file that the run was validated on. Raises UserError if it is not known, or not there."""
    advice = "give the validation file with --val"
    if trained.run is None:
        raise UserError(
            f"{trained.path} is a file of weights, which does not say where its data lies: {advice}"
        )
    path = Path(str(read_config(trained.run / CONFIG).get("data", {}).get("val_dataset") or ""))
    if not path.is_file():
        raise UserError(f"{path}, on which {trained.run} was validated, is not there: {advice}")
    return path


def make_page(trained: "Trained", beton: Beton, *, by_number: bool) -> Found:
    """Judge every image of `beton`, and draw the page. Raises UserError as judge and outputs_of do."""
    meaning, notes = outputs_of(trained.card, beton, trained.path, by_number=by_number)
    judged = judge(trained, beton, meaning)
    chosen = choose(judged, len(trained.names))
    method, why_not = _grad_cam(trained)
    rows = chosen.rows
    pictures = thumbnails(trained, beton, judged.samples[rows], judged.top[rows, 0], method)
    told = [*trained.notes, *notes, *why_not, *_doubts(trained, beton, judged)]
    subject = _subject(trained, beton, judged, [_without_paths(note, trained, beton) for note in told])
    page = Page(subject, judged, chosen, dict(zip(rows.tolist(), pictures, strict=True))).render()
    lines = [*(f"note: {note}" for note in told), *_summary(judged, chosen, trained.names)]
    return Found(page, tuple(lines))


def _grad_cam(trained: "Trained") -> tuple[GradCam | None, list[str]]:
    try:
        return GradCam(trained), []
    except UserError as error:
        # The page is worth having without.
        return None, [str(error)]


def _doubts(trained: "Trained", beton: Beton, judged: Judged) -> Iterator[str]:
    """What may make the page differ from what the run reported."""
    if trained.card.val_data and trained.card.val_data != identity(beton):
        yield f"{beton.path} is another file than the one that the weights were validated on"
    if judged.left_out:
        yield (
            f"{len(judged.left_out):,} images can't be decoded and were left out; python -m engine verify lists them"
        )


def _subject(trained: "Trained", beton: Beton, judged: Judged, notes: list[str]) -> Subject:
    card, wanted = trained.card, trained.card.preprocessing
    title = card.run or (trained.run or trained.path).name
    blurred = " with BlurPool" if card.use_blurpool else ""
    averaged = ", averaged weights" if card.averaged else ""
    conditions = [
        ("run", title),
        ("recipe", card.recipe),
        ("network", f"{card.arch}{blurred}{averaged}"),
        ("validation file", f"{beton.path.name}: {identity(beton)}"),
        ("resolution", f"{wanted.resolution} px"),
        ("crop", f"ratio {text.significant(wanted.ratio)}, {wanted.crop_law}, no TTA"),
        ("computed", f"{choose_precision('auto', trained.device).name} on {trained.device.type}"),
        ("the run's own top-1", _reported(trained)),
        ("licence of the data", card.license),
    ]
    return Subject(
        title=title,
        network=card.arch,
        names=trained.names,
        resolution=wanted.resolution,
        conditions=[(name, value) for name, value in conditions if value],
        source=lambda sample: _source(beton, sample),
        notes=notes,
    )


def _source(beton: Beton, sample: int) -> str:
    """Where an image came from; a list of absolute paths has these as ids, of which the end is enough."""
    return "/".join(PurePosixPath(beton.manifest.ids[sample]).parts[-2:]) if beton.manifest else ""


def _reported(trained: "Trained") -> str:
    """What the weights' card says at the page's resolution and crop, with and without TTA; empty without a card."""
    wanted = trained.card.preprocessing
    return ", ".join(
        f"{text.percent(one.top1)} {'with' if one.tta else 'without'} TTA"
        for one in trained.card.accuracies
        if (one.resolution, one.ratio, one.crop_law) == (wanted.resolution, wanted.ratio, wanted.crop_law)
    )


def _summary(judged: Judged, chosen: Selection, names: "list[str]") -> Iterator[str]:
    wrong = int((~judged.outcomes.right).sum())
    yield (
        f"top-1 {text.percent(judged.top1)} ({text.count(wrong)} of {text.count(len(judged.samples))} wrong), balanced "
        f"accuracy {text.percent(judged.balanced)}"
    )
    pairs = [
        f"{names[pair.label]} for {names[pair.predicted]} {text.count(pair.images)}"
        for pair in chosen.pairs[:_PAIRS]
    ]
    if pairs:
        yield f"most mistaken: {', '.join(pairs)} times"


def _without_paths(note: str, trained: "Trained", beton: Beton) -> str:
    """A page is passed on: it names files, not where they lie."""
    for path in (beton.path, trained.path):
        note = note.replace(str(path), path.name)
    return note
