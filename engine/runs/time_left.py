"""When a run will end: pure functions of what is left of it and of how fast it was so far.

The arithmetic of a convolutional network grows with the square of the images' side, so a run whose resolution grows
slows down, and its mean speed says too little. A resolution that was measured counts with its own speed. For one that
was not, seconds per image are taken as a + b side^2, fitted to the resolutions that were (a: what does not grow, such
as reading); with a single one measured, as b side^2.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from engine.runs.log_schema import EpochLine

RECENT = 3
"""Epochs of a resolution whose mean is its speed: enough to even out noise, few enough to follow a change."""


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """Training on `images` images of `side` pixels a side, and whether a validation follows."""

    images: int
    side: int
    validated: bool = True


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """All epochs of a run or, of several stages, of one and of the stages after it."""

    epochs: Sequence[Ahead]
    later: Sequence[Ahead] = ()
    """The epochs of later stages."""
    done: int = 0
    """Images of `epochs` that were trained on before this process began."""
    label: str = ""
    """Which stage it is, as in "stage 2 of 3"."""

    @property
    def ends(self) -> list[int]:
        """Images trained on at the end of each epoch."""
        return list(accumulate(epoch.images for epoch in self.epochs))

    def ahead(self, images: int, logged: int) -> list[Ahead]:
        """What is left after `images` images and `logged` epochs in the log; of the current epoch, the rest of it.

        An epoch whose images are done but that is not logged yet still has its validation ahead.
        """
        epoch = max(bisect_left(self.ends, images), logged)
        ahead = [*self.epochs[epoch:]]
        if ahead:
            ahead[0] = replace(ahead[0], images=min(ahead[0].images, self.ends[epoch] - images))
        return [*ahead, *self.later]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """A measurement: training on `images` images of `side` pixels a side took so many seconds."""

    side: int
    images: int
    seconds: float


def seconds_left(ahead: Sequence[Ahead], paces: Sequence[Pace], validations: Sequence[float]) -> float | None:
    """The seconds that `ahead` will take; None where nothing was measured yet.

    `paces` and `validations` (seconds each) are in the order of time. A validation counts from the first measured on.
    """
    if not paces:
        return None
    recent = validations[-RECENT:]
    validation = sum(recent) / len(recent) if recent else 0.0
    each = {side: seconds_per_image(side, paces) for side in {part.side for part in ahead}}
    return sum(part.images * each[part.side] + part.validated * validation for part in ahead)


def seconds_per_image(side: int, paces: Sequence[Pace]) -> float:
    """Seconds per image of `side` pixels, from at least one measurement in the order of time."""
    per_image = _per_image(paces)
    constant, slope = _fit(per_image)
    return per_image.get(side, constant + slope * side**2)


def paces_of(epochs: Sequence[EpochLine]) -> list[Pace]:
    """How fast the epochs of a log were; those without a measurement are left out."""
    return [
        Pace(side=epoch.resolution, images=epoch.images, seconds=epoch.train_seconds)
        for epoch in epochs
        if epoch.resolution and epoch.images and epoch.train_seconds
    ]


def validations_of(epochs: Sequence[EpochLine]) -> list[float]:
    """The seconds that the validations of a log took."""
    return [epoch.val_seconds for epoch in epochs if epoch.val_seconds and epoch.top1 is not None]


def _per_image(paces: Sequence[Pace]) -> dict[int, float]:
    """Seconds per image by side."""
    by_side: dict[int, list[Pace]] = {}
    for index, pace in enumerate(paces):
        # A run's first epoch also fills caches: once there is another of its resolution, it does not count.
        if index == 1 and pace.side in by_side:
            by_side[pace.side].clear()
        by_side.setdefault(pace.side, []).append(pace)
    return {
        side: sum(pace.seconds for pace in of_side[-RECENT:]) / sum(pace.images for pace in of_side[-RECENT:])
        for side, of_side in by_side.items()
    }


def _fit(per_image: dict[int, float]) -> tuple[float, float]:
    """(a, b) of a + b side^2, by least squares over the sides, neither below 0."""
    squares, seconds = [side**2 for side in per_image], list(per_image.values())
    middle_x, middle_y = sum(squares) / len(squares), sum(seconds) / len(seconds)
    spread = sum((x - middle_x) ** 2 for x in squares)
    if not spread:
        return 0.0, middle_y / middle_x
    slope = sum((x - middle_x) * (y - middle_y) for x, y in zip(squares, seconds, strict=True)) / spread
    constant = middle_y - slope * middle_x
    if slope < 0:
        return middle_y, 0.0
    if constant < 0:
        return 0.0, sum(x * y for x, y in zip(squares, seconds, strict=True)) / sum(x * x for x in squares)
    return constant, slope
