"""Classes of images by one trained network, or by the mean of several.

    predictor = Predictor("runs/NAME")
    predictor.predict("cat.jpg").top[0].name
    for prediction in predictor.predict_batch(paths, batch_size=32): ...

Images are decoded by threads, at most two batches ahead of the network.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.devices import where_exact
from engine.errors import UserError
from engine.limits import usable_cores
from engine.predict.features import features_of
from engine.predict.image_source import name_of
from engine.predict.preprocess import Preprocessor
from engine.predict.trained import Trained, load_trained
from engine.train.step.precision import choose_precision

_BATCHES_AHEAD = 2

Run = Trained | str | Path


@dataclass(frozen=True)
class Guess:
    """A class, and how likely the network takes it to be."""

    index: int
    """Number of the output."""
    id: str
    """The class id, as the training data have it; the number where it is not known."""
    name: str
    """Readable."""
    probability: float
    """0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What became of one image: the likeliest classes, the first one first, or an error."""

    source: str
    """Its path, URL or name."""
    top: list[Guess] = field(default_factory=list)
    error: str | None = None
    """Why there is no guess, in one line without the name."""
    features: NDArray[np.float32] | None = None
    """The classifier's input (features,), where it was asked for."""


class Predictor:
    """Predicts with the network of `run`, or with the mean of the softmax of several.

    A run is its folder, a file of weights, or what load_trained returned. `tta` averages the probabilities of each
    image and its mirror image. `workers` threads decode (0: one for each core). `precision` is fp32, bf16 or fp16. Use
    as a context manager, or call `close`, to end the threads at once. Raises UserError for weights that can't be read,
    or networks of different classes.
    """

    def __init__(
        self,
        run: Run | Sequence[Run],
        *,
        device: str = "auto",
        tta: bool = False,
        workers: int = 0,
        precision: str = "fp32",
        names: Path | None = None,
    ) -> None:
        asked = [run] if isinstance(run, Trained | str | Path) else list(run)
        self.runs = [
            one if isinstance(one, Trained) else load_trained(one, device=device, names=names)
            for one in asked
        ]
        if not self.runs:
            raise ValueError("no run")
        first = self.runs[0]
        self.device, self.tta = first.device, tta
        self.ids, self.names = first.ids, first.names
        self._orders = [_order(first, one) for one in self.runs]
        self._precision = choose_precision(precision, self.device)
        expected = [one.card.preprocessing for one in self.runs]
        distinct = [asked for number, asked in enumerate(expected) if asked not in expected[:number]]
        self._preprocessors = [Preprocessor(asked, self.device) for asked in distinct]
        self._of_run = [distinct.index(asked) for asked in expected]
        self.workers = workers or usable_cores()
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")

    def predict(self, image: object, top_k: int = 5) -> Prediction:
        """The classes of one image: a path, a URL, bytes, a Pillow image or an array (image_source.py)."""
        return next(self.predict_batch([image], batch_size=1, top_k=top_k))

    def predict_batch(
        self, images: Iterable[object], batch_size: int = 32, top_k: int = 5, *, features: bool = False
    ) -> Iterator[Prediction]:
        """The classes of each image, in order; what can't be read or decoded gets an `error`.

        `features` asks for the classifier's input too, of a single network. Images are taken as they are needed.
        """
        if features and len(self.runs) > 1:
            raise UserError("features are of one network: give a single run")
        ahead = batch_size * _BATCHES_AHEAD + self.workers
        arriving = enumerate(images)
        waiting: deque[tuple[str, Future[list[NDArray[np.uint8]] | str]]] = deque()
        try:
            while True:
                for number, image in islice(arriving, max(0, ahead - len(waiting))):
                    waiting.append((name_of(image, number), self._threads.submit(self._decode, image)))
                if not waiting:
                    return
                taken = [waiting.popleft() for _ in range(min(batch_size, len(waiting)))]
                decoded = [(name, future.result()) for name, future in taken]
                yield from self._predict(decoded, top_k, features)
        finally:
            for _, future in waiting:
                future.cancel()

    @torch.inference_mode()
    def logits(self, batch: NDArray[np.uint8] | torch.Tensor, run: int = 0) -> torch.Tensor:
        """Of levels (n, resolution, resolution, 3), uint8, as `preprocessor(run).image` gives them: float32
        (n, classes), on the device. Without TTA, in the network's own order of classes.
        """
        images = self.preprocessor(run).normalise(batch)
        with self._precision.autocast():
            logits: torch.Tensor = self.runs[run].model(images)
        return logits.float()

    def features(self, batch: NDArray[np.uint8] | torch.Tensor, run: int = 0) -> torch.Tensor:
        """The classifier's input for such levels: float32 (n, features), on the device."""
        with features_of(self.runs[run].model) as seen:
            self.logits(batch, run)
        return seen[0].float()

    @torch.inference_mode()
    def probabilities(self, batches: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """The mean of the networks' softmax: float64 (n, classes), on the device if it has float64.

        `batches` are the same images for each distinct preprocessing (`preprocessors`), uint8 (n, side, side, 3).
        """
        found, exact = [], where_exact(self.device)
        for run, (kind, order) in enumerate(zip(self._of_run, self._orders, strict=True)):
            batch = torch.from_numpy(batches[kind])
            views = [batch, batch.flip(2)] if self.tta else [batch]
            mean = torch.stack([self.logits(view, run).to(exact).double().softmax(1) for view in views]).mean(
                0
            )
            found.append(mean if order is None else mean[:, order])
        return found[0] if len(found) == 1 else torch.stack(found).mean(0)

    def preprocessor(self, run: int = 0) -> Preprocessor:
        """What makes the input of this run's network."""
        return self._preprocessors[self._of_run[run]]

    @property
    def preprocessors(self) -> list[Preprocessor]:
        """The distinct ones of all runs."""
        return self._preprocessors

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _decode(self, image: object) -> list[NDArray[np.uint8]] | str:
        """The input of each distinct preprocessing, or why there is none."""
        try:
            return [one.image(image) for one in self._preprocessors]
        except UserError as error:
            return str(error)

    def _predict(
        self, decoded: Sequence[tuple[str, list[NDArray[np.uint8]] | str]], top_k: int, features: bool
    ) -> Iterator[Prediction]:
        good = [pixels for _, pixels in decoded if not isinstance(pixels, str)]
        found = iter(
            self._ask([np.stack(kind) for kind in zip(*good, strict=True)], top_k, features) if good else ()
        )
        for name, pixels in decoded:
            if isinstance(pixels, str):
                yield Prediction(source=name, error=pixels)
                continue
            top, known = next(found)
            if top:
                yield Prediction(source=name, top=top, features=known)
            else:
                yield Prediction(source=name, error="the network's outputs are not finite")

    def _ask(
        self, batches: list[NDArray[np.uint8]], top_k: int, features: bool
    ) -> Iterator[tuple[list[Guess], NDArray[np.float32] | None]]:
        """The guesses and, where asked for, features of each image; no guesses where outputs are not finite."""
        with ExitStack() as block:
            seen = block.enter_context(features_of(self.runs[0].model)) if features else []
            mean = self.probabilities(batches)
        # With TTA the mean over the image and its mirror image.
        known = torch.stack(seen).float().mean(0).cpu().numpy() if seen else None
        best = mean.topk(min(top_k, mean.shape[1]), dim=1)
        finite = mean.isfinite().all(1).tolist()
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        for number, (indices, shares) in enumerate(rows):
            pairs = zip(indices, shares, strict=True) if finite[number] else ()
            top = [Guess(index, self.ids[index], self.names[index], share) for index, share in pairs]
            yield top, known[number] if known is not None else None


def _order(first: Trained, other: Trained) -> list[int] | None:
    """The outputs of `other` in the order of those of `first`; None where that is theirs.

    Raises UserError for other classes.
    """
    ours, theirs = first.card.classes, other.card.classes
    if first.card.num_classes == other.card.num_classes and (
        ours is None or theirs is None or ours == theirs
    ):
        return None
    if (
        ours is not None
        and theirs is not None
        and len(set(theirs)) == len(theirs)
        and set(ours) == set(theirs)
    ):
        number_of = {name: number for number, name in enumerate(theirs)}
        return [number_of[name] for name in ours]
    raise UserError(
        f"{first.path} and {other.path} are of different classes ({first.card.num_classes} and "
        f"{other.card.num_classes}): give runs that were trained on the same ones"
    )
