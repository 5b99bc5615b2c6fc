"""A run's time limit, kept while the machine is slower or faster than expected (budget.adapt).

At the start of each epoch and sixteen times within it the first rank predicts when the run will end. Where that is off
by more than the margin, the rest of the schedule gets another length (replan.py), on all ranks alike.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from engine.config.train.train_config import BudgetConfig, TrainConfig
from engine.runs.log_schema import ReplanLine
from engine.runs.time_left import Ahead
from engine.train.budget.pace import PaceModel
from engine.train.budget.replan import ALL, LAST, SHORTEST_REST, Costs, Replan, replan, seconds_left
from engine.train.budget.verdict import describe_seconds
from engine.train.schedules import resolution_at
from engine.train.trainer import Trainer

LOOKS = 16
"""Times within an epoch that the end is predicted."""

_UNSURE = 0.05
"""Share of the time left by which a prediction may be off."""

_FEWEST_STEPS = 4
"""However late a run is, so many steps bring the learning rate to its end."""

_SETTLED = 0.05
"""Share of the time limit that is measured before the first change: a run cut short too early has no second chance."""

_SETTLED_RUN = 0.25
"""Share of the run after which it may be changed in any case."""


class Keeper:
    """Changes `trainer.timeline` so that the run ends within `budget`.

    `used` returns the seconds of the budget that are used up; `told` gets a line for the log for each change. `later`
    are the epochs of later stages, which share the budget.
    """

    def __init__(
        self,
        config: TrainConfig,
        budget: BudgetConfig,
        trainer: Trainer,
        *,
        used: Callable[[], float],
        told: Callable[[ReplanLine], None],
        later: Sequence[Ahead] = (),
    ) -> None:
        self._config, self._budget, self._trainer = config, budget, trainer
        self._used, self._told, self._later = used, told, later
        self._pace = PaceModel(config.plan.pace_list())
        self._validations: list[float] = []
        self.validations = ALL if config.logging.log_level > 0 else LAST
        """Which validations are left to do: replan.ALL or replan.LAST."""
        self.replans = 0
        self.scale = 1.0
        """How much longer or shorter later stages will be than they are in the recipe."""
        self._mark = (0.0, 0, 0, 0.0)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the timeline."""
        return {"validations": self.validations, "replans": self.replans, "scale": self.scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what state_dict gave."""
        self.validations, self.replans = state["validations"], state["replans"]
        self.scale = state["scale"]

    def note_validation(self, seconds: float) -> None:
        """A validation took so long, with what else came between two epochs."""
        # Without the factor of the moment, which is that of the training before it.
        self._validations.append(seconds / self._pace.factor(seconds))

    def begin_epoch(self, epoch: int, step: int = 0) -> None:
        """Call on every rank before an epoch is trained, `step` steps of which are done."""
        self._look(epoch, step)
        self._set_mark(epoch, step)

    def after_step(self, epoch: int, step: int) -> None:
        """Call on every rank after each step; `step` steps of the epoch are done."""
        every = max(1, self._trainer.full_steps(epoch) // LOOKS)
        if step % every or step == self._trainer.steps(epoch):
            return
        self._note_pace(epoch, step)
        self._look(epoch, step)
        self._set_mark(epoch, step)

    def end_epoch(self, epoch: int, step: int) -> None:
        """Call on every rank when the steps of an epoch are done, before its validation."""
        self._note_pace(epoch, step)

    def seconds_left(self, epoch: int, step: int) -> float | None:
        """The predicted time to the end of the run; None before enough was measured."""
        at = epoch + step / self._trainer.full_steps(epoch)
        if not self._settled(at):
            return None
        left = self._budget.seconds - self._used()
        return seconds_left(self._trainer.timeline, at, self._costs(left), self.validations)

    @property
    def skips_validations(self) -> bool:
        """Whether only the last validation is done. The first one is always done where its time is not known yet."""
        return self.validations == LAST and self._validation_seconds() > 0

    def _settled(self, at: float) -> bool:
        """Whether enough was measured, `at` finished epochs; a run that is far too short has no more to measure."""
        measured = self._pace.measured_seconds
        return measured >= _SETTLED * self._budget.seconds or (
            measured > 0 and at >= _SETTLED_RUN * self._trainer.timeline.length
        )

    def _set_mark(self, epoch: int, step: int) -> None:
        compiling = sum(self._trainer.compile_seconds.values())
        self._mark = (time.perf_counter(), epoch, step, compiling)

    def _note_pace(self, epoch: int, step: int) -> None:
        begin, of_epoch, first, compiled = self._mark
        if of_epoch != epoch:
            return
        seconds = time.perf_counter() - begin - (sum(self._trainer.compile_seconds.values()) - compiled)
        images = (step - first) * self._trainer.plan(epoch).global_batch
        # The side of the steps before: a part of the epoch that began with this step has no time yet.
        self._pace.note(self._trainer.side(epoch, max(0, step - 1)), images, seconds)

    def _look(self, epoch: int, step: int) -> None:
        trainer = self._trainer
        at = epoch + step / trainer.full_steps(epoch)
        left = self._budget.seconds - self._used()
        found: Replan | None = None
        if trainer.ranks.main and self._settled(at):
            # What may still even out is not acted upon: a long rest is predicted less exactly.
            margin = max(self._budget.margin * self._budget.seconds, _UNSURE * left)
            found = replan(trainer.timeline, at, left, self._costs(left), self.validations, margin=margin)
        found = trainer.ranks.agree(found)
        if found is None:
            return
        before = trainer.timeline
        if found.length != before.length:
            trainer.timeline = before.changed(at, found.length)
        self.validations, self.replans = found.validations, self.replans + 1
        self.scale *= found.scale
        if trainer.ranks.main:
            self._told(self._line(found, before.length, at, left))

    def _costs(self, left: float) -> Costs:
        """What the rest takes, at the pace that is expected of it."""
        config, trainer, factor = self._config, self._trainer, self._pace.factor(left)

        def seconds_per_image(side: int) -> float:
            return factor * self._pace.seconds_per_image(side)

        def epoch_at(position: float) -> float:
            side = resolution_at(config.resolution, position, config.training.epochs)
            return seconds_per_image(side) * trainer.num_samples

        # A validation and the end take the same cores as training does.
        validation = factor * self._validation_seconds()
        later = sum(
            part.images * seconds_per_image(part.side) + part.validated * validation for part in self._later
        )
        compiled = [seconds for seconds in trainer.compile_seconds.values() if seconds]
        to_come = len(set(trainer.plans) - set(trainer.compile_seconds))
        return Costs(
            epoch_at=epoch_at,
            validation=validation,
            every=config.validation.every,
            finish=factor * config.plan.finish_seconds or validation,
            compiling=to_come * sum(compiled) / len(compiled) if compiled else 0.0,
            later=self.scale * later,
            shortest=max(SHORTEST_REST, _FEWEST_STEPS / trainer.full_steps(0)),
        )

    def _validation_seconds(self) -> float:
        """The time of a validation at the pace that was planned; 0 where it is not known yet."""
        recent = self._validations[-3:]
        return sum(recent) / len(recent) if recent else self._config.plan.validation_seconds

    def _line(self, found: Replan, before: float, at: float, left: float) -> ReplanLine:
        trainer, rate, late = self._trainer, self._pace.rate(), found.late_seconds
        off = f"{describe_seconds(abs(late))} {'late' if late > 0 else 'early'}"
        speed = f"at {rate:,.0f} images/s " if rate else ""
        epoch = min(int(at), trainer.timeline.count - 1)
        rest = self.seconds_left(epoch, round((at - epoch) * trainer.full_steps(epoch)))
        return ReplanLine(
            at=at,
            length=trainer.timeline.length,
            length_before=before,
            validations=found.validations,
            reason=f"{speed}the run would have ended {off}",
            seconds_left=left,
            late_seconds=late,
            images_per_second=rate,
            predicted_seconds=None if rest is None else self._budget.seconds - left + rest,
            elapsed_seconds=self._budget.seconds - left,
        )
