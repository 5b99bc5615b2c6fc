"""Every run that a plan may choose: each length that a family covers, with its time, accuracy and cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.config.installation import RECIPES
from engine.config.load import load_train_stages
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.knowledge.families import Family, Prediction
from engine.plan.duration import WHOLE_FROM, Duration, ahead, run_duration, stretched, thinned
from engine.plan.pace.machine_pace import Pace
from engine.train.batching import plans_by_resolution

_FIVES_FROM = 120
"""Lengths are multiples of 5 epochs beyond this."""
_LEAST_EPOCHS = 0.5


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A family's recipe at one length on one machine."""

    family: Family
    pace: Pace
    config: TrainConfig
    """The recipe, stretched, its validations thinned."""
    epochs: float
    prediction: Prediction
    duration: Duration
    price: float = 0.0
    """Per hour; 0: not known."""

    @property
    def sides(self) -> list[int]:
        """The resolutions of the run in pixels, the smallest first."""
        return sorted({part.side for parts in ahead(self.config, self.family.num_train) for part in parts})

    @property
    def cost(self) -> float | None:
        """Of the whole run, in the price's currency; None without a price."""
        return self.duration.seconds / 3600 * self.price if self.price else None

    def accuracy_holds(self, target: float | None) -> float:
        """The probability that the run reaches `target` (a share); 1 without one."""
        return 1.0 if target is None else self.family.probability(self.epochs, target)

    def time_holds(self, seconds: float | None) -> float:
        """The probability that the run takes at most `seconds`; 1 without a limit."""
        return 1.0 if seconds is None else self.duration.probability(seconds)

    def holds(self, target: float | None, seconds: float | None) -> float:
        """The probability that both hold, taken to be independent."""
        return self.accuracy_holds(target) * self.time_holds(seconds)


def family_recipe(family: Family, data: tuple[str, str] | None = None) -> TrainConfig:
    """The family's recipe, on `data` (train and val file). Raises UserError where it can't be stretched."""
    if not family.recipe:
        raise UserError(f"family {family.name} has no recipe here: its figures are for comparison only")
    train, val = data or ("train.beton", "val.beton")
    stages, _ = load_train_stages(
        ["-C", str(RECIPES / family.recipe), f"--data.train_dataset={train}", f"--data.val_dataset={val}"]
    )
    if len(stages) > 1 or stages[0].resolution.schedule == "stages":
        raise UserError(f"family {family.name}: a recipe of several stages can't be stretched")
    return stages[0]


def sides_of(config: TrainConfig, num_train: int) -> list[int]:
    """The training resolutions of a recipe in pixels, the smallest first."""
    return sorted(plans_by_resolution(config, 1, num_train))


def lengths(family: Family) -> list[float]:
    """The lengths in epochs that are tried: those in the family's range that can be written well."""
    low, high = family.range()
    if low == high:
        # A single point stands for the whole number beside it, where it has one.
        whole = float(round(low))
        return [whole if whole and abs(whole - low) <= 0.01 * low else low]
    tenths = range(
        math.ceil(max(low, _LEAST_EPOCHS) * 10 - 1e-6),
        min(math.floor(high * 10 + 1e-6), 10 * WHOLE_FROM - 1) + 1,
    )
    whole_ones = [
        whole
        for whole in range(max(math.ceil(low - 1e-6), WHOLE_FROM), math.floor(high + 1e-6) + 1)
        if whole <= _FIVES_FROM or whole % 5 == 0
    ]
    return [*(tenth / 10 for tenth in tenths), *map(float, whole_ones)]


def candidates(family: Family, recipe: TrainConfig, pace: Pace, price: float = 0.0) -> list[Candidate]:
    """A candidate for each length, the shortest first. Raises UserError for a batch that exceeds the images."""
    return [_candidate(family, recipe, pace, length, price) for length in lengths(family)]


def _candidate(family: Family, recipe: TrainConfig, pace: Pace, length: float, price: float) -> Candidate:
    config = thinned(stretched(recipe, length), pace, family.num_train)
    if pace.precision:
        config = replace(config, training=replace(config.training, precision=pace.precision))
    return Candidate(
        family=family,
        pace=pace,
        config=config,
        epochs=length,
        prediction=family.predict(length),
        duration=run_duration(config, pace, family.num_train),
        price=price,
    )


def frontier(found: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other beats in both time and accuracy, the shortest first."""
    best, kept = -1.0, []
    for candidate in sorted(found, key=lambda one: (one.duration.seconds, -one.prediction.top1)):
        if candidate.prediction.top1 > best:
            kept.append(candidate)
            best = candidate.prediction.top1
    return kept
