"""A whole run: open the data, build the model, train and validate epoch by epoch, judge, write it all down."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn

from engine.config.stages import WEIGHTS, WEIGHTS_EMA
from engine.config.train.train_config import TrainConfig
from engine.data.beton.pair import agree_on_classes
from engine.data.beton.reader import Beton, open_beton
from engine.errors import UserError
from engine.models.build import weights_note
from engine.train.batching import left_out_note
from engine.train.checkpoints import checkpoint_file, resume
from engine.train.checkpoints.checkpoint_file import EpochState
from engine.train.checkpoints.interruption import Interruption
from engine.train.checkpoints.resume import Progress
from engine.train.checkpoints.saver import Saver
from engine.train.entries import accuracy_entry, average_entry, facts_entry, result_entry
from engine.train.evaluation.accuracy import Accuracy
from engine.train.evaluation.validator import Validator
from engine.train.open_loader import open_loader, tell_new_skips
from engine.train.outlook import Outlook, epochs_ahead
from engine.train.ranks.backends import set_backends
from engine.train.ranks.group import Ranks
from engine.train.recipe_start import Stage
from engine.train.recording import Record
from engine.train.step.precision import choose_precision
from engine.train.trainer import Trainer
from engine.train.verdict import judge
from engine.train.weights import build_network


class Run:
    """One rank's side of a run. Construction checks the data and builds the model; `execute` does the work.

    `elapsed` are the seconds of training and validation, those of earlier stages included; `interruption` says when it
    is asked to end early. Raises UserError on construction for data, weights or a batch size that can't be used.
    """

    def __init__(
        self,
        config: TrainConfig,
        ranks: Ranks,
        stage: Stage | None = None,
        interruption: Interruption | None = None,
    ) -> None:
        self.config, self.ranks, self.stage = config, ranks, stage or Stage()
        self.interruption = interruption or Interruption()
        self.begun = Progress(state=EpochState(), elapsed=self.stage.earlier_seconds)
        self.elapsed = self.begun.elapsed
        self.precision = choose_precision(config.training.precision, ranks.device)
        self._owned = ExitStack()
        set_backends(ranks.device, tf32=config.training.tf32, deterministic=config.training.deterministic)
        train, val = (open_beton(Path(path)) for path in (config.data.train_dataset, config.data.val_dataset))
        self.classes, self.data = agree_on_classes(train, val), resume.data_of(train, val)
        resume.refuse_other_data(ranks, self.data)
        self.model = build_network(config, self.classes.count, ranks.device)
        self.trainer = self._build_trainer(train)
        loader = open_loader(config, ranks, self.precision, val, training=False)
        self.validator = Validator(
            config.validation, ranks, self.precision, self._owned.enter_context(loader)
        )

    def execute(self, record: Record) -> int:
        """Train, write it all down, and return the exit code that the verdict asks for.

        Raises UserError where all has been done before, Interrupted when it is asked to end early and has saved.
        """
        self._refuse_finished(record)
        begun, started = self.begun, time.perf_counter() - self.begun.elapsed
        saver = Saver(
            self.config,
            self.trainer,
            self.data,
            record.folder,
            self.interruption,
            elapsed=lambda: time.perf_counter() - started,
            best=begun.best,
        )
        facts = facts_entry(self.config, self.ranks, self.precision, self.model, self.classes)
        facts |= self.stage.entry()
        facts |= self.trainer.plan(begun.state.epoch).entry()
        sizes = {"num_train": self.trainer.num_samples, "num_val": self.validator.loader.beton.num_samples}
        resumed = {"resumed_at_epoch": begun.state.epoch, "resumed_at_step": begun.state.step}
        record.start({**facts, **(resumed if self.config.training.resume else {}), **sizes})
        accuracy, average = self._fit(saver, record)
        plain = self.validator.plain_accuracy(self.model)
        self._tell_skips()
        self._save_weights(record.folder / WEIGHTS, self.model)
        judged, of = (average, "of the averaged weights") if average else (accuracy, "")
        verdict = judge(self.config.budget, judged.top1, self.elapsed, f"{of} {judged.doubt}".strip())
        note = weights_note(self.config.model.arch, use_blurpool=self.config.training.use_blurpool)
        result = result_entry(self.config, accuracy, plain, verdict, self.elapsed, WEIGHTS, note)
        result |= self.stage.entry()
        record.finish({**result, **self._average_result(average, record.folder)})
        saver.finish()
        # Rank 0 is still writing; a rank that left now would be taken for a failure.
        self.ranks.barrier()
        return verdict.exit_code

    def _average_result(self, accuracy: Accuracy | None, folder: Path) -> dict[str, Any]:
        """The result line's part on the averaged weights, which are saved; nothing where there are none."""
        average = self.trainer.step.ema
        if not average or not accuracy:
            return {}
        plain = self.validator.plain_accuracy(average.model)
        self._save_weights(folder / WEIGHTS_EMA, average.model)
        plain_entry = {"ema_plain_top1": plain.top1_no_tta, "ema_plain_top5": plain.top5_no_tta}
        return {**average_entry(accuracy), **plain_entry, "weights_ema": WEIGHTS_EMA}

    def _save_weights(self, path: Path, model: nn.Module) -> None:
        if self.ranks.main:
            # On the CPU and in plain memory order: they should load anywhere, whatever they were trained on.
            state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
            checkpoint_file.save(path, state)

    def _refuse_finished(self, record: Record) -> None:
        begun, epochs = self.begun.state, self.config.training.epochs
        done = begun.epoch == epochs - 1 and begun.step == self.trainer.steps(begun.epoch)
        if done and self.ranks.agree(record.finished):
            raise UserError(
                f"training.resume: all {epochs} epochs of that run are done; nothing is left to do"
            )

    def _fit(self, saver: Saver, record: Record) -> tuple[Accuracy, Accuracy | None]:
        """Every epoch that is left; returns the last validation's accuracy, and that of the averaged weights."""
        epochs, trainer = self.config.training.epochs, self.trainer
        with record.live(self._outlook()) as bar:
            for epoch in range(self.begun.state.epoch, epochs):
                begun = self.begun.state if epoch == self.begun.state.epoch else None
                with saver.epoch():
                    entry = trainer.train_epoch(epoch, bar, begun, saver, record.steps)
                    # Before the validation, which a run that is ended in it repeats.
                    saver.save(trainer.done)
                accuracy, average, begin = None, None, time.perf_counter()
                if epoch + 1 == epochs or self.config.logging.log_level > 0:
                    accuracy, average = self._validate(trainer)
                    saver.note_accuracy((average or accuracy).top1)
                if trainer.step.ema:
                    entry.update(average_entry(average))
                entry["val_seconds"] = time.perf_counter() - begin
                entry["val_resolution"] = self.config.validation.resolution
                self.elapsed = saver.elapsed()
                self._tell_skips()
                entry.update({**accuracy_entry(accuracy), "elapsed_seconds": self.elapsed})
                record.epoch({**entry, **self.stage.entry()})
        assert accuracy is not None
        return accuracy, average

    def _validate(self, trainer: Trainer) -> tuple[Accuracy, Accuracy | None]:
        """The accuracy of the weights, and that of their average where there is one."""
        accuracy = self.validator.accuracy(self.model)
        return accuracy, self.validator.accuracy(trainer.step.ema.model) if trainer.step.ema else None

    def _tell_skips(self) -> None:
        tell_new_skips([self.trainer.loader, self.validator.loader])

    def _outlook(self) -> Outlook:
        epochs, begun = (
            epochs_ahead(self.config, self.trainer.plans, self.trainer.num_samples),
            self.begun.state,
        )
        before = sum(epoch.images for epoch in epochs[: begun.epoch])
        done = before + begun.step * self.trainer.plan(begun.epoch).global_batch
        return Outlook(epochs=epochs, later=self.stage.later, done=done, label=self.stage.label)

    def _build_trainer(self, train: Beton) -> Trainer:
        loader = open_loader(self.config, self.ranks, self.precision, train, training=True)
        self._owned.enter_context(loader)
        trainer = Trainer(self.config, self.ranks, self.precision, loader, self.model, self.classes.count)
        if self.config.training.resume:
            self.begun = resume.restore(self.config, trainer, self.data)
            if self.ranks.main:
                print(f"resuming after {self.begun.state}", flush=True)
        if self.ranks.main:
            alike = len(set(trainer.plans.values())) == 1
            lines = [f"{'' if alike else f'{side} px: '}{plan}" for side, plan in trainer.plans.items()]
            print("\n".join(lines[:1] if alike else lines), flush=True)
            if note := left_out_note(trainer.plans, trainer.num_samples, self.config.augmentation.repeats):
                print(note, flush=True)
        return trainer

    def close(self) -> None:
        """End the loaders' threads."""
        self._owned.close()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
