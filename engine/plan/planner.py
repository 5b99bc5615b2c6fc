"""Which families a plan is for, the machine's pace for each of them, and all candidates that follow."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from engine.config.train.data import DataConfig
from engine.config.train.train_config import TrainConfig
from engine.data.beton.pair import agree_on_classes
from engine.data.remote.open_data import open_data
from engine.errors import UserError
from engine.knowledge.families import FAMILIES, Family, find_family
from engine.knowledge.machines import find_machine
from engine.plan.candidates import Candidate, candidates, family_recipe, sides_of
from engine.plan.choice import Request, choose
from engine.plan.pace.host import Host, with_host
from engine.plan.pace.machine_pace import LEAST_SECONDS, Pace
from engine.plan.pace.published_pace import published_pace

DATA_CLASSES = {"ImageNet-1k": 1000, "CIFAR-10": 10, "Fashion-MNIST": 10}
"""Classes of the families' data sets."""

_DEFAULT_DATA = "ImageNet-1k"

_SCALING_ERROR = 0.03
"""MLPerf's A100 figures: 2, 4 and 8 GPUs took 231, 236 and 229 GPU-minutes."""


@dataclass(frozen=True, kw_only=True)
class Planner:
    """What is the same for every machine: the families by name (none: all that fit), data, host, price per hour."""

    names: Sequence[str] = ()
    data: tuple[str, str] | None = None
    host: Host = field(default_factory=Host)
    price: float = 0.0

    @cached_property
    def recipes(self) -> list[tuple[Family, TrainConfig]]:
        """The families that fit, each with its recipe. Raises UserError where none does, or a named one does not."""
        found, refused = [], ""
        for family in self._families:
            try:
                found.append((family, family_recipe(family, self.data)))
            except UserError as error:
                if self.names:
                    raise
                refused = str(error)
        if not found:
            raise UserError(
                refused or "no family can be planned: `python -m engine plan --families` lists them"
            )
        return found

    def on_machine(self, name: str) -> list[Candidate]:
        """All candidates on a machine with published speeds. Raises UserError for an unknown machine."""
        machine, found, refused = find_machine(name), [], ""
        for family, recipe in self.recipes:
            try:
                pace = published_pace(family, recipe, machine, sides_of(recipe, family.num_train))
            except UserError as error:
                # No speed of its network is published.
                refused = str(error)
                continue
            found += self._candidates(family, recipe, pace)
        if not found:
            raise UserError(refused)
        return found

    def measured(self, seconds: float, gpus: int = 1) -> list[Candidate]:
        """All candidates on this machine, measured for `seconds` in all. Raises UserError as measure_pace does."""
        from engine.train.ranks.process import limit_spinning

        # It acts on the import of torch.
        limit_spinning()
        from engine.plan.pace.measure import measure_pace

        each = seconds if len(self.recipes) == 1 else max(LEAST_SECONDS, seconds / len(self.recipes))
        found = []
        for family, recipe in self.recipes:
            pace = measure_pace(recipe, each)
            if gpus > 1 and not pace.gpus:
                raise UserError(f"--gpus {gpus}: this machine trains on its CPU")
            found += self._candidates(
                family, recipe, pace.on_gpus(gpus, _SCALING_ERROR) if gpus > 1 else pace
            )
        return found

    def more_gpus(self, name: str, request: Request) -> list[str]:
        """The fewest GPUs of the machine's kind on which something fits, in words; none where it never does."""
        machine = find_machine(name)
        for count in (count for count in (2, 4, 8) if count > machine.count):
            # The price is that of the machine that was asked for: more GPUs cost as much more.
            price = request.price * count / machine.count
            other, bigger = replace(self, price=price), f"{count}x{machine.gpu}"
            pick = choose(other.on_machine(bigger), replace(request, price=price)).pick
            if pick:
                minutes = pick.duration.seconds / 60
                return [
                    f"more GPUs: on {bigger} {pick.family.name} fits, {pick.epochs:g} epochs in {minutes:.1f} minutes"
                ]
        return []

    def _candidates(self, family: Family, recipe: TrainConfig, pace: Pace) -> list[Candidate]:
        host = replace(self.host, image_bytes=self._image_bytes)
        return candidates(family, recipe, with_host(pace, host), self.price)

    @cached_property
    def _image_bytes(self) -> float:
        """Mean bytes of a training image where a file is given, else 0."""
        return float(open_data(self.data[0], DataConfig()).sizes.mean()) if self.data else 0.0

    @cached_property
    def _families(self) -> list[Family]:
        chosen = [find_family(name) for name in self.names]
        with_recipe = [family for family in FAMILIES.values() if family.recipe]
        if not self.data:
            return chosen or [family for family in with_recipe if family.data == _DEFAULT_DATA]
        train, val = (open_data(place, DataConfig()) for place in self.data)
        classes, sizes = agree_on_classes(train, val).count, (train.num_samples, val.num_samples)
        fitting = [
            family
            for family in chosen or with_recipe
            if (family.num_train, family.num_val) == sizes
            and DATA_CLASSES.get(family.data, classes) == classes
        ]
        if not fitting:
            known = {f"{family.data} ({family.num_train:,} and {family.num_val:,})" for family in with_recipe}
            raise UserError(
                f"--data: no family of runs has {sizes[0]:,} training and {sizes[1]:,} validation images of {classes} "
                f"classes, so no accuracy can be predicted; known: {', '.join(sorted(known))}"
            )
        return fitting
