"""What a run has promised, accuracy and time, and all that watches over it: clock, keeper, alarm, target.

One place that the run asks: which epochs are validated, what a checkpoint and the log hold of it, when to end early.
"""

from collections.abc import Callable
from typing import Any

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.runs.log_schema import EpochLine, ReplanLine
from engine.runs.run_writer import RunWriter
from engine.runs.time_left import Outlook, paces_of, seconds_left, validations_of
from engine.train.alarm.alarm import Alarm
from engine.train.alarm.causes import Facts
from engine.train.batching import epochs_ahead
from engine.train.budget.clock import Clock
from engine.train.budget.keeper import Keeper
from engine.train.budget.prediction import predicted_fields, predicted_top1
from engine.train.budget.replan import LAST
from engine.train.budget.verdict import describe_seconds
from engine.train.checkpoints.checkpoint_file import EpochState
from engine.train.checkpoints.resume import Progress
from engine.train.recipe.recipe_start import Stage
from engine.train.trainer import Trainer


class Contract:
    """Of one run, or one stage of it. Every rank calls every method, and all see the same.

    `started`: when the process was started (time.perf_counter); `outlook` gives the epochs as they are planned now.
    """

    def __init__(
        self,
        config: TrainConfig,
        trainer: Trainer,
        begun: Progress,
        stage: Stage,
        record: RunWriter,
        *,
        facts: Facts,
        started: float,
        outlook: Callable[[], Outlook],
    ) -> None:
        self._config, self._trainer, self._record = config, trainer, record
        self._stage, self._outlook = stage, outlook
        self.clock = Clock(start=started, earlier=begun.elapsed, began=begun.began, setup=begun.setup)
        if not config.training.resume and stage.number == 1:
            self.clock.setup = self.clock.elapsed()
        self._target_seconds = begun.target_seconds
        self.saved_seconds: float | None = None
        """What ending at the target saved; None: the run did not end there."""
        self._epochs: list[EpochLine] = []
        self._keeper = self._keep_budget(begun)
        self._alarm = Alarm(config, facts)
        if begun.alarm:
            self._alarm.load_state_dict(begun.alarm)
        # A resumed run has the timeline of its checkpoint.
        self._keep_timeline()

    def progress(self, state: EpochState, best: float) -> Progress:
        """What a checkpoint of this moment holds; `best` is the best top-1 so far (a share)."""
        return Progress(
            state=state,
            elapsed=self.clock.elapsed(),
            best=best,
            began=self.clock.began,
            setup=self.clock.setup,
            target_seconds=self._target_seconds,
            keeper=self._keeper.state_dict() if self._keeper else {},
            alarm=self._alarm.state_dict(),
        )

    def start_fields(self) -> dict[str, Any]:
        """The start line's fields on set-up and on what is expected."""
        expected = predicted_fields(self._config, self._trainer.timeline)
        return {**expected, "setup_seconds": self.clock.setup}

    def result_fields(self, elapsed: float) -> dict[str, Any]:
        """The result line's fields on target, length and price of a run that took `elapsed` seconds."""
        found, timeline = dict[str, Any](), self._trainer.timeline
        if self._config.budget.target_top1:
            found["time_to_target_seconds"] = self._target_seconds
        if self.saved_seconds is not None:
            found["stopped_early"] = self.saved_seconds
        if self._keeper:
            found["replans"] = self._keeper.replans
        if self._keeper or timeline.changes or self.saved_seconds is not None:
            found["length"] = self._epochs_done()
        if self._config.budget.price:
            found["cost"] = elapsed / 3600 * self._config.budget.price
        return found

    def begin_epoch(self, epoch: int, step: int) -> None:
        """Before an epoch (from 0) is trained, `step` steps of which are done; may change its length."""
        if self._keeper:
            self._keeper.begin_epoch(epoch, step)

    def after_step(self, epoch: int, step: int) -> None:
        """After each step; may change the length of the run."""
        if self._keeper:
            self._keeper.after_step(epoch, step)

    def end_steps(self, epoch: int) -> None:
        """When an epoch is trained, before it is saved and validated."""
        if self._keeper:
            self._keeper.end_epoch(epoch, self._trainer.done.step)

    def validation_is_due(self, epoch: int) -> bool:
        """Whether a validation follows the epoch (from 0) that was trained."""
        if epoch + 1 >= self._trainer.timeline.count:
            return True
        if self._keeper and self._keeper.skips_validations:
            return False
        return (epoch + 1) % self._config.validation.every == 0 and self._config.logging.log_level > 0

    def ends_after(self, line: EpochLine, val_seconds: float) -> bool:
        """Whether the run ends with this epoch, as its target is reached (budget.stop_at_target).

        `val_seconds`: what validation and saving took. Raises UserError for an alarm with budget.on_alarm=stop.
        """
        self._epochs.append(line)
        top1 = line.top1 if line.ema_top1 is None else line.ema_top1
        if self._keeper and top1 is not None:
            self._keeper.note_validation(val_seconds)
        self._compare_with_family(line)
        return top1 is not None and self._ends_at_target(top1, line)

    def _keep_budget(self, begun: Progress) -> Keeper | None:
        """What keeps the run to its time limit; None without budget.adapt. Later stages share the limit."""
        config, stage = self._config, self._stage
        budget = config.budget
        if not budget.adapt:
            return None

        def told(line: ReplanLine) -> None:
            line = line.replaced(**stage.number_entry(), **predicted_top1(config, self._trainer.timeline))
            self._record.replan(line, self._outlook())
            self._keep_timeline()

        keeper = Keeper(
            config,
            budget,
            self._trainer,
            used=lambda: self.clock.used(budget.clock),
            told=told,
            later=stage.later,
        )
        if begun.keeper:
            keeper.load_state_dict(begun.keeper)
        return keeper

    def _keep_timeline(self) -> None:
        """So that config.yaml repeats the run: its length, and roughly its validations."""
        timeline, every = self._trainer.timeline, self._config.validation.every
        if self._keeper and self._keeper.validations == LAST:
            every = max(every, timeline.count)
        if timeline.changes or every != self._config.validation.every:
            self._record.keep_timeline(str(timeline), every)

    def _epochs_done(self) -> float:
        done = self._trainer.done
        return done.epoch + done.step / self._trainer.full_steps(done.epoch)

    def _compare_with_family(self, line: EpochLine) -> None:
        alarm = self._alarm.note(line, self._trainer.timeline.schedule(self._epochs_done()))
        if alarm is None:
            return
        self._record.alarm(alarm)
        if self._alarm.stops:
            raise UserError(
                f"budget.on_alarm=stop: ended after epoch {line.epoch}, far below {self._config.plan.family}; to go on "
                f"nevertheless, pass --training.resume={self._record.folder} --budget.on_alarm=warn"
            )

    def _ends_at_target(self, top1: float, line: EpochLine) -> bool:
        budget, timeline = self._config.budget, self._trainer.timeline
        if not budget.target_top1 or top1 < budget.target_top1:
            return False
        if self._target_seconds is None:
            self._target_seconds = (line.elapsed_seconds or 0.0) - self.clock.setup
        if not budget.stop_at_target or line.epoch >= timeline.count:
            return False
        ahead = epochs_ahead(self._config, self._trainer.plans, self._trainer.num_samples, timeline)
        paces, validations = paces_of(self._epochs), validations_of(self._epochs)
        self.saved_seconds = seconds_left(ahead[line.epoch :], paces, validations) or 0.0
        if self._trainer.ranks.main:
            print(
                f"target reached after {line.epoch} of {timeline.count} epochs: the run ends here, "
                f"{describe_seconds(self.saved_seconds)} early (budget.stop_at_target)",
                flush=True,
            )
        return True
