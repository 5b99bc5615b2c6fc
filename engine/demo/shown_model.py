"""A trained network as the page shows it: its guesses, its heat maps, and what is known of it."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.demo.demo_page import Answer, BadPicture, Model
from engine.errors import UserError
from engine.predict.grad_cam import GradCam, overlay
from engine.predict.predictor import Predictor
from engine.predict.trained import Trained
from engine.report import text
from engine.runs.folder import RECORD
from engine.runs.model_card import CardAccuracy, ModelCard
from engine.runs.record.run_record import read_record

TOP = 5


class ShownModel(Model):
    """The network of one run or weights file. Visitors' threads may ask it at the same time."""

    def __init__(self, trained: Trained, name: str) -> None:
        self._trained, self._name = trained, name
        self._predictor = Predictor(trained)
        self._cam, self.why_not_cam = _grad_cam(trained)
        # Grad-CAM hooks into the network, and two pictures at once would take twice the memory.
        self._one_at_a_time = threading.Lock()
        self._facts = list(facts_of(trained))

    @property
    def name(self) -> str:
        return self._name

    @property
    def facts(self) -> Sequence[tuple[str, str]]:
        return self._facts

    @property
    def explains(self) -> bool:
        return self._cam is not None

    def answer(self, picture: bytes, explain: bool) -> Answer:
        """Its guesses for an image file's content. Raises BadPicture for one that the conversion would not take."""
        with self._one_at_a_time:
            found = self._predictor.predict(picture, top_k=TOP)
            if found.error is not None:
                raise BadPicture(f"This picture can't be used: {found.error}. Choose another one.")
            seen = self._predictor.preprocessor().image(picture)
            heat = None
            if explain and self._cam is not None:
                heat = overlay(seen, self._cam.maps(seen[None], [found.top[0].index])[0])
        return Answer([(guess.name, guess.probability) for guess in found.top], seen, heat)


def _grad_cam(trained: Trained) -> tuple[GradCam | None, str]:
    """None, and the reason, for a network without a map of features, or without the library."""
    try:
        return GradCam(trained), ""
    except UserError as error:
        return None, str(error)


def names_of(models: Sequence[Trained]) -> list[str]:
    """A short name for each model: its run's, with the file's name and a number where others have the same."""
    short = [one.run.name if one.run else one.path.stem for one in models]
    longer = [
        f"{name}/{one.path.name}" if short.count(name) > 1 else name
        for name, one in zip(short, models, strict=True)
    ]
    return [
        f"{name} ({longer[:number].count(name) + 1})" if longer.count(name) > 1 else name
        for number, name in enumerate(longer)
    ]


def facts_of(trained: Trained) -> Iterator[tuple[str, str]]:
    """What is known of it, by name; nothing in it says where on this machine it lies."""
    card, asked = trained.card, trained.card.preprocessing
    parameters = sum(weight.numel() for weight in trained.model.parameters())
    blur = " with BlurPool" if card.use_blurpool else ""
    average = ", averaged weights (EMA)" if card.averaged else ""
    yield "Network", f"{card.arch}{blur}, {parameters / 1e6:.1f} million parameters{average}"
    yield "Classes", text.count(card.num_classes)
    yield "Input", f"{asked.resolution} px, of the centred square of {asked.ratio:.4g} x the shorter side"
    yield from (("Reached", _reached(one)) for one in card.accuracies or _of_record(trained.run))
    if card.recipe:
        yield "Trained by", f"{card.recipe}, seed {card.seed}"
    yield from _known(card)


def _known(card: ModelCard) -> Iterator[tuple[str, str]]:
    given = {"Training data": card.train_data, "Validation data": card.val_data, "Licence note": card.license}
    yield from ((name, value) for name, value in given.items() if value)
    if card.revision and card.revision.commit:
        yield "Source revision", card.revision.commit[:12]


def _reached(measured: CardAccuracy) -> str:
    of = f" of {measured.images:,} validation images" if measured.images else ""
    top5 = f", top-5 {text.percent(measured.top5)}" if measured.top5 is not None else ""
    size = f" at {measured.resolution} px" if measured.resolution else ""
    mirrored = ", mean with the mirror image" if measured.tta else ""
    return f"top-1 {text.percent(measured.top1)}{top5}{of}{size}{mirrored}"


def _of_record(run: Path | None) -> list[CardAccuracy]:
    """What a run reached from before there were cards. Raises UserError for a damaged record."""
    path = run / RECORD if run else None
    if path is None or not path.is_file():
        return []
    record = read_record(path)
    if record.top1 is None:
        return []
    return [
        CardAccuracy(
            top1=record.top1,
            top5=record.top5,
            images=record.num_val,
            resolution=record.val_resolution,
            ratio=record.val_ratio,
            crop_law=record.val_crop_law,
            tta=record.tta,
        )
    ]
