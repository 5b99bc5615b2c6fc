"""When a run is saved: after each epoch, every few minutes, and on a signal; all ranks save the same step."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from engine.config.train.train_config import TrainConfig
from engine.runs.folder import CONFIG, LOG, REPORT, WEIGHTS, WEIGHTS_EMA
from engine.train.checkpoints import resume, store
from engine.train.checkpoints.checkpoint_file import EpochState
from engine.train.checkpoints.interruption import Interruption
from engine.train.checkpoints.remote_copy import RemoteCopy
from engine.train.ranks.group import Agreement, Wish
from engine.train.trainer import Trainer

BESIDE = (CONFIG, LOG)
"""What a run needs beside a checkpoint to be resumed somewhere else."""


class Saver:
    """Saves the run in `folder`; rank 0 writes. `progress` gives what a checkpoint holds of a position in the run.

    `best` is the best top-1 so far (a share).
    """

    def __init__(
        self,
        config: TrainConfig,
        trainer: Trainer,
        data: dict[str, str],
        folder: Path,
        interruption: Interruption,
        progress: Callable[[EpochState, float], resume.Progress],
        best: float,
    ) -> None:
        self.config, self.trainer, self.folder, self._data = config, trainer, folder, data
        self._interruption, self._progress, self._best = interruption, progress, best
        self._agreement = Agreement(trainer.ranks, self._wish)
        self._saved_at = time.monotonic()
        if config.training.resume:
            interruption.saved = "the step it was resumed from"
        self._copy: RemoteCopy | None = None
        if trainer.ranks.main:
            store.remove_partial(folder)
            if config.checkpoint.copy_to:
                url = f"{config.checkpoint.copy_to.rstrip('/')}/{folder.name}"
                self._copy = RemoteCopy(url, config.checkpoint.storage(), folder)

    @contextmanager
    def epoch(self) -> Generator[None, None, None]:
        """A block that trains an epoch and saves it; a signal is handled after the next step, or at its end."""
        with self._interruption.deferred():
            yield

    def begin_step(self) -> None:
        """Call before each step: starts the exchange of what the ranks want."""
        self._agreement.begin()

    def end_step(self, state: Callable[[], EpochState]) -> None:
        """Call after each step: saves if any rank wants to. Raises Interrupted if any was asked to end."""
        wish = self._agreement.settle()
        if wish is Wish.GO_ON:
            return
        self.save(state())
        if wish is Wish.STOP:
            self._wait()
            self._interruption.asked = self._interruption.asked or "a signal to another rank"
            # No rank may leave while rank 0 is still writing: it would be taken for a failure.
            self.trainer.ranks.barrier()
            self._interruption.end()

    def save(self, state: EpochState) -> None:
        """Call on every rank: writes the checkpoint and starts copying it. Raises UserError, as for a full disk."""
        if self.trainer.ranks.main:
            content = resume.content(self.config, self.trainer, self._data, self._progress(state, self._best))
            path = store.save(self.folder, state, content, keep=self.config.checkpoint.keep)
            self._send([*BESIDE, str(path.relative_to(self.folder))])
        self._interruption.saved = str(state)
        self._saved_at = time.monotonic()

    def note_accuracy(self, top1: float) -> None:
        """Report the top-1 (a share) of the last checkpoint, which becomes best.pt if it is the best so far."""
        if top1 > self._best:
            self._best = top1
            if self.trainer.ranks.main and self.config.checkpoint.keep_best:
                store.keep_best(self.folder)

    def finish(self) -> None:
        """Copy the results of the run, and wait for that."""
        if self.trainer.ranks.main:
            self._send([*BESIDE, WEIGHTS, WEIGHTS_EMA, REPORT])
        self._wait()

    def _wait(self) -> None:
        """Wait for the copy in progress."""
        if self._copy:
            self._copy.wait()

    def _send(self, names: list[str]) -> None:
        if self._copy:
            files = [self.folder / name for name in names]
            self._copy.send([file for file in files if file.is_file()], self.config.checkpoint.keep)

    def _wish(self) -> Wish:
        if self._interruption.asked:
            return Wish.STOP
        minutes = self.config.checkpoint.every_minutes
        due = minutes and time.monotonic() - self._saved_at >= 60 * minutes
        return Wish.SAVE if due and self.trainer.ranks.main else Wish.GO_ON
