"""Networks averaged and measured: each by itself, their mean before and after batch norm's statistics are recomputed.

A uniform soup is the mean of all (Wortsman et al. 2022, "Model soups"); of one run's checkpoints it is SWA (Izmailov et
al. 2018, "Averaging weights leads to wider optima"). A greedy soup (Wortsman et al., recipe 1) begins with the best and
takes in each further one that does not make it worse. It chooses on a part of the validation images and is measured on
the others: what was chosen by images is too good on them.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.average.ingredients import Ingredient, Recipe, other_classes
from engine.average.mean_weights import WeightSum
from engine.average.norm_statistics import norms_with_statistics, recompute_statistics
from engine.average.statistics_images import StatisticsImages
from engine.data.beton.pair import ClassList, agree_on_classes
from engine.data.beton.reader import Beton
from engine.data.sampling.order import held_out
from engine.errors import UserError
from engine.models.ensemble import Ensemble
from engine.progress import Progress
from engine.train.evaluation.accuracy import Accuracy
from engine.train.evaluation.validator import Conditions, Validator, own_conditions, plain_conditions
from engine.train.open_loader import open_loader, tell_new_skips
from engine.train.ranks.backends import set_backends
from engine.train.ranks.group import Ranks
from engine.train.step.precision import choose_precision
from engine.train.weights import bare_network, load_weights


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How batch norm's statistics are computed, and whether an ensemble is measured too."""

    images: int = 10_000
    crops: str = "train"
    seed: int = 0
    ensemble: bool = False
    chosen_on: float = 0.5
    """Greedy: share of the validation images that it chooses on."""


@dataclass(frozen=True, kw_only=True)
class Average:
    """An averaged network, in `model` of the Averaging, and what was measured."""

    members: list[str]
    """The names of the weights in it, in the order in which they were taken in."""
    alone: dict[str, Accuracy]
    """Each network by itself, under the recipe's conditions."""
    before: Accuracy
    """The mean of all weights and statistics, as it is."""
    after: tuple[Accuracy, Accuracy]
    """With batch norm's statistics computed anew: under the recipe's conditions and the plain ones."""
    statistics_images: int
    """0: the network has no batch norm."""
    best: str
    """The best network alone."""
    best_after: Accuracy | None
    """It with its own statistics computed anew, which may gain by itself; None without batch norm."""
    ensemble: Accuracy | None = None


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A step of the greedy choice: the accuracy of the soup with this network in it, on the images of the choice."""

    name: str
    accuracy: Accuracy
    taken: bool


@dataclass
class Averaging:
    """Averages `ingredients` on one device; close it. Raises UserError for data or weights that don't fit."""

    recipe: Recipe
    ranks: Ranks
    train: Beton
    val: Beton
    ingredients: Sequence[Ingredient]
    wanted: Wanted
    tell: Callable[[str], None]
    """Gets a line on what weights leave open, once."""
    _owned: ExitStack = field(default_factory=ExitStack)
    _told: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        config = self.recipe.config
        set_backends(
            self.ranks.device, tf32=config.training.tf32, deterministic=config.training.deterministic
        )
        self.precision = choose_precision(config.training.precision, self.ranks.device)
        self.classes = self._agree_on_classes()
        self.model = self._new_network()
        open_one = partial(open_loader, config, self.ranks, self.precision)
        try:
            self._images = StatisticsImages(
                config,
                self.precision,
                self._owned.enter_context(open_one(self.train, training=True, in_memory=False)),
                self.classes.count,
                count=self.wanted.images,
                seed=self.wanted.seed,
                crops=self.wanted.crops,
            )
            self._val = self._owned.enter_context(open_one(self.val, training=False))
        except UserError:
            self._owned.close()
            raise

    def uniform(self) -> Average:
        """The mean of all."""
        validator = self._validator()
        total, alone = None, {}
        for one in self.ingredients:
            self._load(one)
            alone[one.name] = self._measure(one.name, validator)
            state = self.model.state_dict()
            total = WeightSum.of(state) if total is None else total.added(state)
        assert total is not None
        return self._finished(total, [one.name for one in self.ingredients], alone, validator)

    def greedy(self, tried: Callable[[Tried], None]) -> Average | None:
        """The greedy soup; None where it is the best network alone. `tried` gets each step of the choice."""
        choice = held_out(self.val.num_samples, self.wanted.chosen_on, self.wanted.seed)
        if not 0 < len(choice) < self.val.num_samples:
            raise UserError(
                f"average: {self.wanted.chosen_on:g} of {self.val.num_samples} validation images to choose on leaves "
                "none for one of the two parts: change --chosen-on"
            )
        choosing = self._validator(choice)
        judging = self._validator(np.setdiff1d(np.arange(self.val.num_samples), choice))
        on_choice, alone = {}, {}
        for one in self.ingredients:
            self._load(one)
            on_choice[one.name] = self._measure(one.name, choosing)
            alone[one.name] = self._measure(one.name, judging)
        # Of equals the first given is taken first.
        order = sorted(self.ingredients, key=lambda one: -on_choice[one.name].top1)
        self._load(order[0])
        total, members = WeightSum.of(self.model.state_dict()), [order[0].name]
        # As the soups that it is compared with: new statistics alone may gain.
        self._recompute()
        best = self._measure(f"{order[0].name}, after", choosing)
        tried(Tried(name=order[0].name, accuracy=best, taken=True))
        for one in order[1:]:
            self._load(one)
            candidate = total.added(self.model.state_dict())
            self._take(candidate)
            self._recompute()
            found = self._measure(f"with {one.name}", choosing)
            taken = found.top1 >= best.top1
            tried(Tried(name=one.name, accuracy=found, taken=taken))
            if taken:
                total, best = candidate, found
                members.append(one.name)
        return self._finished(total, members, alone, judging) if len(members) > 1 else None

    def _finished(
        self, total: WeightSum, members: list[str], alone: dict[str, Accuracy], validator: Validator
    ) -> Average:
        """The mean, measured before and after its statistics are recomputed."""
        joint = self._ensemble(members, validator) if self.wanted.ensemble else None
        best, best_after = max(alone, key=lambda name: alone[name].top1), None
        if norms_with_statistics(self.model):
            self._load(next(one for one in self.ingredients if one.name == best))
            self._recompute()
            best_after = self._measure(f"{best}, after", validator)
        self._take(total)
        before = self._measure("the mean", validator)
        images = self._recompute()
        config = self.recipe.config.validation
        both = [own_conditions(config), plain_conditions(config)]
        own, plain = self._measure_under("the mean, after", validator, both)
        tell_new_skips([self._images.loader, self._val])
        return Average(
            members=members,
            alone=alone,
            before=before,
            after=(own, plain),
            statistics_images=images,
            best=best,
            best_after=best_after,
            ensemble=joint,
        )

    def _ensemble(self, members: Sequence[str], validator: Validator) -> Accuracy:
        networks = []
        for one in self.ingredients:
            if one.name in members:
                self._load(one)
                network = self._new_network()
                network.load_state_dict(self.model.state_dict())
                networks.append(network)
        return self._measure("the ensemble", validator, Ensemble(networks))

    def _new_network(self) -> nn.Module:
        config = self.recipe.config
        model = bare_network(config, self.classes.count).requires_grad_(False)
        layout = torch.channels_last if config.training.channels_last else torch.contiguous_format
        return model.to(self.ranks.device).to(memory_format=layout)

    def _load(self, one: Ingredient) -> None:
        """Put these weights into `model`, with the data's classes in the data's order."""
        match = self.recipe.config.model.match_classes
        notes = load_weights(
            self.model,
            one.known.file,
            use_ema=one.known.use_ema,
            classes=self.classes.names if match else None,
            option="average",
        )
        for note in notes:
            if note not in self._told:
                self._told.add(note)
                self.tell(note)

    def _take(self, total: WeightSum) -> None:
        self.model.load_state_dict(total.mean(), strict=True)

    def _recompute(self) -> int:
        if not norms_with_statistics(self.model):
            return 0
        return recompute_statistics(self.model, self._images.batches(), self.precision)

    def _validator(self, ids: NDArray[np.int64] | None = None) -> Validator:
        return Validator(self.recipe.config, self.ranks, self.precision, self._val, ids)

    def _measure(self, name: str, validator: Validator, model: nn.Module | None = None) -> Accuracy:
        conditions = [own_conditions(self.recipe.config.validation)]
        return self._measure_under(name, validator, conditions, model)[0]

    def _measure_under(
        self, name: str, validator: Validator, conditions: list[Conditions], model: nn.Module | None = None
    ) -> list[Accuracy]:
        with Progress(f"measuring {name}", len(conditions) * len(validator.ids)) as progress:
            return validator.measure(
                self.model if model is None else model,
                conditions,
                lambda number, batch, final, plain: progress.update(len(batch.ids)),
            )

    def _agree_on_classes(self) -> ClassList:
        """The data's classes; their names are the first weights' where the data have none."""
        found = agree_on_classes(self.train, self.val)
        theirs = self.ingredients[0].known.classes
        if found.names is None and theirs is not None and len(theirs) >= found.count:
            return ClassList(len(theirs), list(theirs))
        if self.recipe.config.model.match_classes and (difference := other_classes(theirs, found.names)):
            raise UserError(
                f"average: {self.ingredients[0].name} and {self.val.path} are of other classes ({difference}): give "
                "the data that it was trained on"
            )
        return found

    def close(self) -> None:
        """End the loaders' threads."""
        self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
