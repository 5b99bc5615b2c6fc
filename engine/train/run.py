"""A whole run: open the data, build the model, train and validate epoch by epoch, judge, write it all down."""

import time
from pathlib import Path
from typing import Any

from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.data.beton.pair import agree_on_classes
from engine.data.beton.reader import Beton
from engine.data.remote.open_data import open_data
from engine.devices import free_memory
from engine.errors import UserError
from engine.runs.folder import WEIGHTS, WEIGHTS_EMA
from engine.runs.log_schema import validation_fields
from engine.runs.run_writer import RunWriter
from engine.runs.time_left import Outlook
from engine.train.alarm.causes import Facts
from engine.train.batching import epochs_ahead, fit_warning, left_out_note, split_warning
from engine.train.budget.contract import Contract
from engine.train.budget.verdict import averaged_words, judge
from engine.train.checkpoints import resume
from engine.train.checkpoints.checkpoint_file import EpochState
from engine.train.checkpoints.interruption import Interruption
from engine.train.checkpoints.resume import Progress
from engine.train.checkpoints.run_weights import card_of, save_model, save_weights
from engine.train.checkpoints.saver import Saver
from engine.train.evaluation.accuracy import Accuracy
from engine.train.evaluation.validator import Validator
from engine.train.imbalance import imbalance_warning, uneven_sizes
from engine.train.open_loader import open_loader, tell_new_skips
from engine.train.ranks.group import Ranks
from engine.train.recipe.recipe_start import Stage
from engine.train.residence import find_residence
from engine.train.run_base import RunBase
from engine.train.step.memory_fit import naming_lack_of_memory
from engine.train.step.scale import norm_warning, refuse_scale, scale_warnings
from engine.train.trainer import Trainer


class Run(RunBase):
    """One rank's side of a run. Construction checks the data and builds the model; `execute` does the work.

    `elapsed` are the seconds of the run, those of earlier stages included; they count from `started` on
    (time.perf_counter), or from the start of `execute`. `interruption` says when it is asked to end early. Raises
    UserError on construction for data, weights or a batch size that can't be used.
    """

    def __init__(
        self,
        config: TrainConfig,
        ranks: Ranks,
        stage: Stage | None = None,
        interruption: Interruption | None = None,
        started: float | None = None,
    ) -> None:
        super().__init__(config, ranks)
        self._started = started
        self.stage = stage or Stage()
        self.interruption = interruption or Interruption()
        self.begun = Progress(
            state=EpochState(),
            elapsed=self.stage.earlier_seconds,
            began=self.stage.began,
            setup=self.stage.setup_seconds,
        )
        self.elapsed = self.begun.elapsed
        train, val = (
            open_data(place, config.data, shows=ranks.main)
            for place in (config.data.train_dataset, config.data.val_dataset)
        )
        self.take_classes(agree_on_classes(train, val))
        self.data = resume.data_of(train, val)
        resume.refuse_other_data(ranks, self.data)
        self.tell_doubts(train, val)
        self.model = self.build_network()
        self.trainer = self._build_trainer(train)
        loader = open_loader(config, ranks, self.precision, val, training=False)
        self.validator = Validator(config, ranks, self.precision, self._owned.enter_context(loader))

    def execute(self, record: RunWriter) -> int:
        """Train, log and save, and return the exit code that the verdict asks for.

        Raises UserError where all epochs are done already, Interrupted when it was asked to end early and has saved.
        """
        self._refuse_finished(record)
        begun = self.begun
        self.contract = contract = Contract(
            self.config,
            self.trainer,
            begun,
            self.stage,
            record,
            facts=self._facts(record.folder),
            started=time.perf_counter() if self._started is None else self._started,
            outlook=self._outlook,
        )
        # Now that all is checked, and set-up is over: it may take minutes, and reads training images.
        self.trainer.loader.fill_resident()
        saver = Saver(
            self.config,
            self.trainer,
            self.data,
            record.folder,
            self.interruption,
            progress=contract.progress,
            best=begun.best,
        )
        resumed = {"resumed_at_epoch": begun.state.epoch, "resumed_at_step": begun.state.step}
        record.start(
            self.start_line(
                **self.stage.entry(),
                **self.trainer.plan(begun.state.epoch).entry(),
                **(resumed if self.config.training.resume else {}),
                **self._residence_fields(),
                **contract.start_fields(),
                train_data=self.data["train"],
                val_data=self.data["val"],
                num_train=self.trainer.num_samples,
                num_val=self.validator.loader.beton.num_samples,
                class_images=uneven_sizes(self.trainer.class_images),
            )
        )

        accuracy, average = self._fit(saver, record)
        plain = self.validator.plain_accuracy(self.model)
        self._tell_skips()
        further = {**self.stage.entry(), **self._save_results(record, accuracy, plain, average)}
        self.elapsed = contract.clock.elapsed()
        further.update(contract.result_fields(self.elapsed))
        judged, of = (average, averaged_words(average.top1, accuracy.top1)) if average else (accuracy, "")
        verdict = judge(
            self.config.budget,
            judged.top1,
            self.elapsed,
            f"{of} {judged.doubt}".strip(),
            saved_seconds=contract.saved_seconds,
        )
        record.finish(self.result_line(accuracy, plain, verdict, self.elapsed, WEIGHTS, **further))
        saver.finish()
        # Rank 0 is still writing; a rank that left now would be taken for a failure.
        self.ranks.barrier()
        return verdict.exit_code

    def _residence_fields(self) -> dict[str, Any]:
        """The start line's fields on data that the device holds, and on the order, where they are not the usual."""
        held, parts = self.trainer.loader.resident_bytes, self.trainer.order_parts
        return {
            **({"resident_gb": held / 1e9} if held else {}),
            **({"order_parts": parts} if parts > 1 else {}),
        }

    def _save_results(
        self, record: RunWriter, accuracy: Accuracy, plain: Accuracy, average: Accuracy | None
    ) -> dict[str, Any]:
        """Save the weights and their average; returns the result line's fields on the average, none without one."""
        ema = self.trainer.step.ema
        with_average = ema is not None and average is not None
        self._save_weights(record, WEIGHTS, self.model, (accuracy, plain), judged=not with_average)
        if ema is None or average is None:
            return {}
        plain = self.validator.plain_accuracy(ema.model)
        self._save_weights(record, WEIGHTS_EMA, ema.model, (average, plain), judged=True)
        plain_entry = {"ema_plain_top1": plain.top1_no_tta, "ema_plain_top5": plain.top5_no_tta}
        return {**validation_fields(average, "ema_"), **plain_entry, "weights_ema": WEIGHTS_EMA}

    def _save_weights(
        self,
        record: RunWriter,
        name: str,
        model: nn.Module,
        accuracies: tuple[Accuracy, Accuracy],
        *,
        judged: bool,
    ) -> None:
        """Write a file of weights, and model.safetensors with those that are judged."""
        if not self.ranks.main:
            return
        card = card_of(
            self.config,
            self.classes,
            self.trainer.loader.beton,
            accuracies,
            averaged=name == WEIGHTS_EMA,
            data=self.data,
            run=record.folder.name,
            recipe=record.recipe,
        )
        save_weights(record.folder / name, model, card)
        if judged:
            save_model(record.folder, model, card)

    def _refuse_finished(self, record: RunWriter) -> None:
        begun, epochs = self.begun.state, self.trainer.timeline.count
        done = begun.epoch == epochs - 1 and begun.step == self.trainer.steps(begun.epoch)
        if done and self.ranks.agree(record.finished):
            raise UserError(
                f"training.resume: all {epochs} epochs of the run are done; nothing is left to do"
            )

    def _fit(self, saver: Saver, record: RunWriter) -> tuple[Accuracy, Accuracy | None]:
        """Every epoch that is left; returns the last validation's accuracy, and that of the averaged weights."""
        trainer, contract, begun = self.trainer, self.contract, self.begun.state
        epoch, found = begun.epoch, None
        with record.live(self._outlook()) as bar:
            while found is None or epoch < trainer.timeline.count:
                before = begun if epoch == begun.epoch else EpochState(epoch=epoch)
                contract.begin_epoch(epoch, before.step)
                with saver.epoch(), naming_lack_of_memory(trainer.loader.resident_bytes):
                    line = trainer.train_epoch(epoch, bar, before, saver, record.steps, contract.after_step)
                    contract.end_steps(epoch)
                    # Before the validation, which a run that is ended in it repeats.
                    saver.save(trainer.done)
                begin, due = time.perf_counter(), contract.validation_is_due(epoch)
                compiled = self.validator.compile_seconds
                accuracy, average = self._validate(trainer) if due else (None, None)
                if accuracy:
                    found = accuracy, average
                    saver.note_accuracy((average or accuracy).top1)
                compiling = self.validator.compile_seconds - compiled
                val_seconds = time.perf_counter() - begin - compiling
                self.elapsed = contract.clock.elapsed()
                self._tell_skips()
                line = line.replaced(
                    **validation_fields(accuracy),
                    **(validation_fields(average, "ema_") if trainer.step.ema else {}),
                    compile_seconds=(line.compile_seconds or 0.0) + compiling,
                    val_seconds=val_seconds,
                    val_resolution=self.config.validation.resolution,
                    elapsed_seconds=self.elapsed,
                    **self.stage.entry(),
                )
                record.epoch(line)
                epoch += 1
                if contract.ends_after(line, time.perf_counter() - begin - compiling):
                    break
        assert found is not None
        return found

    def _validate(self, trainer: Trainer) -> tuple[Accuracy, Accuracy | None]:
        """The accuracy of the weights, and that of their average where there is one."""
        accuracy = self.validator.accuracy(self.model)
        return accuracy, self.validator.accuracy(trainer.step.ema.model) if trainer.step.ema else None

    def _tell_skips(self) -> None:
        tell_new_skips([self.trainer.loader, self.validator.loader])

    def _facts(self, folder: Path) -> Facts:
        """What an alarm's causes are checked against."""
        train, val = (loader.beton.manifest for loader in (self.trainer.loader, self.validator.loader))
        return Facts(
            train_classes=list(train.classes) if train else None,
            val_classes=list(val.classes) if val else None,
            num_classes=self.classes.count,
            num_train=self.trainer.num_samples,
            precision=self.precision.name,
            folder=folder,
        )

    def _outlook(self) -> Outlook:
        epochs, begun = (
            epochs_ahead(self.config, self.trainer.plans, self.trainer.num_samples, self.trainer.timeline),
            self.begun.state,
        )
        before = sum(epoch.images for epoch in epochs[: begun.epoch])
        done = before + begun.step * self.trainer.plan(begun.epoch).global_batch
        return Outlook(epochs=epochs, later=self.stage.later, done=done, label=self.stage.label)

    def _build_trainer(self, train: Beton) -> Trainer:
        saved: dict[str, Any] = {}
        if self.config.training.resume:
            names = train.manifest.classes if train.manifest else None
            saved = resume.read(self.config, self.ranks, self.data, names)
        # Before the trainer, which asks how much memory is free for its steps.
        held = find_residence(self.config, self.ranks, train, resume.order_parts(saved) if saved else 0)
        loader = open_loader(
            self.config, self.ranks, self.precision, train, training=True, resident=held.data
        )
        self._owned.enter_context(loader)
        trainer = Trainer(
            self.config,
            self.ranks,
            self.precision,
            loader,
            self.model,
            self.classes.count,
            held.order_parts,
        )
        if saved:
            self.begun = resume.restore(self.config, trainer, saved)
        else:
            refuse_scale(self.config, trainer.total_steps)
        if self.ranks.main:
            if self.config.training.resume:
                print(f"resuming after {self.begun.state}", flush=True)
            alike = len(set(trainer.plans.values())) == 1
            lines = [f"{'' if alike else f'{side} px: '}{plan}" for side, plan in trainer.plans.items()]
            print("\n".join(lines[:1] if alike else lines), flush=True)
            self._print_remarks(trainer)
        return trainer

    def _print_remarks(self, trainer: Trainer) -> None:
        """Lines about options that hardly fit the data, the batch or the run's length."""
        config, plans = self.config, trainer.plans
        fitted = config.training.fit_memory and free_memory(self.ranks.device) is not None
        limit = config.training.device_batch_size
        remarks = [
            left_out_note(plans, trainer.num_samples, config.augmentation.repeats),
            *(fit_warning(plan) if fitted else split_warning(plan, limit) for plan in plans.values()),
            *(norm_warning(self.model, plan) for plan in plans.values()),
            *scale_warnings(config, trainer.total_steps, list(plans)),
            imbalance_warning(config, trainer.class_images, trainer.class_names),
        ]
        for remark in dict.fromkeys(filter(None, remarks)):
            print(remark, flush=True)
