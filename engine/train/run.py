"""A whole run: open the data, build the model, train and validate epoch by epoch, judge, write it all down."""

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from tqdm import tqdm

from engine.config.schema import TrainConfig
from engine.config.stages import WEIGHTS, WEIGHTS_EMA
from engine.data.beton import Beton, open_beton
from engine.data.holdout import held_out
from engine.data.pair import agree_on_classes
from engine.errors import UserError
from engine.models.build import weights_note
from engine.train import checkpoint, resume
from engine.train.budget import judge
from engine.train.distributed import Ranks
from engine.train.entries import accuracy_entry, average_entry, facts_entry, result_entry
from engine.train.evaluate import Accuracy
from engine.train.host import keep_freed_memory
from engine.train.network import build_network
from engine.train.open_loader import open_loader
from engine.train.precision import choose_precision
from engine.train.search import search_resolution, search_table
from engine.train.stage import Stage
from engine.train.trainer import Trainer
from engine.train.validator import Validator


class Record(Protocol):
    """Where a run is written down (engine.report.record.RunRecord)."""

    folder: Path

    @property
    def finished(self) -> bool: ...
    def start(self, facts: dict[str, Any]) -> None: ...
    def epoch(self, entry: dict[str, Any]) -> None: ...
    def finish(self, result: dict[str, Any]) -> None: ...


class Run:
    """One rank's side of a run. Construction checks the data and builds the model; `execute` does the work.

    `elapsed` are the seconds of training and validation, those of earlier stages included. Raises UserError on
    construction for data, weights or a batch size that can't be used.
    """

    def __init__(self, config: TrainConfig, ranks: Ranks, stage: Stage | None = None) -> None:
        self.config, self.ranks, self.stage = config, ranks, stage or Stage()
        self.elapsed, self.first_epoch = self.stage.earlier_seconds, 0
        self.precision = choose_precision(config.training.precision, ranks.device)
        self._owned = ExitStack()
        _set_backends(ranks.device, tf32=config.training.tf32)
        val = open_beton(Path(config.data.val_dataset))
        train = None if config.training.eval_only else open_beton(Path(config.data.train_dataset))
        self.classes = agree_on_classes(*(beton for beton in (train, val) if beton is not None))
        self.model = build_network(config, self.classes.count, ranks.device)
        self.trainer = self._build_trainer(train) if train is not None else None
        loader = open_loader(config, ranks, self.precision, val, training=False)
        self.validator = Validator(
            config.validation, ranks, self.precision, self._owned.enter_context(loader)
        )
        self.search = self._build_search() if config.validation.search else None

    def execute(self, record: Record) -> int:
        """Train (or only validate), write it all down, and return the exit code that the verdict asks for.

        Raises UserError where all has been done before.
        """
        self._refuse_finished(record)
        facts = facts_entry(self.config, self.ranks, self.precision, self.model, self.classes)
        facts |= self.stage.entry()
        num_val = self.validator.loader.beton.num_samples
        if self.trainer is None:
            record.start({**facts, "num_val": num_val})
            found = self._choose_resolution(self.search) if self.search else {}
            accuracy, average, weights = self.validator.accuracy(self.model), None, None
        else:
            num_train, found = self.trainer.num_samples, {}
            plan = self.trainer.plan(min(self.first_epoch, self.config.training.epochs - 1)).entry()
            resumed = {"resumed_at_epoch": self.first_epoch or None}
            record.start({**facts, **plan, **resumed, "num_train": num_train, "num_val": num_val})
            (accuracy, average), weights = self._fit(self.trainer, record), WEIGHTS
        plain = self.validator.plain_accuracy(self.model)
        self._tell_skips()
        if weights:
            self._save_weights(record.folder / weights, self.model)
        # Without training there is no time to judge.
        budget = self.config.budget if self.trainer else replace(self.config.budget, minutes=0.0)
        judged, of = (average, "of the averaged weights") if average else (accuracy, "")
        verdict = judge(budget, judged.top1, self.elapsed, of)
        note = weights_note(self.config.model.arch, use_blurpool=self.config.training.use_blurpool)
        result = result_entry(self.config, accuracy, plain, verdict, self.elapsed, weights, note)
        result |= self.stage.entry()
        record.finish({**result, **found, **self._average_result(average, record.folder)})
        # Rank 0 is still writing; a rank that left now would be taken for a failure.
        self.ranks.barrier()
        return verdict.exit_code

    def _build_search(self) -> Validator:
        """What measures on the images held out of training. Raises UserError for another file, or when none are."""
        config = self.config
        train = open_beton(Path(config.data.train_dataset))
        agree_on_classes(train, self.validator.loader.beton)
        held = held_out(train.num_samples, config.data.holdout, config.training.seed)
        if not len(held):
            raise UserError(
                f"data.holdout {config.data.holdout:g} of {train.num_samples} images is none: raise it"
            )
        loader = open_loader(config, self.ranks, self.precision, train, training=False, in_memory=False)
        self._owned.enter_context(loader)
        return Validator(config.validation, self.ranks, self.precision, loader, held)

    def _choose_resolution(self, search: Validator) -> dict[str, Any]:
        """Search, and validate at the best from here on; returns the result line's part on it."""
        found = search_resolution(search, self.model, self.config.validation.search_list())
        if self.ranks.main:
            print(search_table(found), flush=True)
        validation = replace(self.config.validation, resolution=found[0]["resolution"])
        self.config = replace(self.config, validation=validation)
        self.validator.validation = validation
        return {"search": found}

    def _average_result(self, accuracy: Accuracy | None, folder: Path) -> dict[str, Any]:
        """The result line's part on the averaged weights, which are saved; nothing where there are none."""
        average = self.trainer and self.trainer.step.ema
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
            checkpoint.save(path, state)

    def _refuse_finished(self, record: Record) -> None:
        epochs = self.config.training.epochs
        if self.first_epoch >= epochs and self.ranks.agree(record.finished):
            raise UserError(
                f"training.resume: all {epochs} epochs of that run are done; nothing is left to do"
            )

    def _fit(self, trainer: Trainer, record: Record) -> tuple[Accuracy, Accuracy | None]:
        """Every epoch that is left; returns the last validation's accuracy, and that of the averaged weights."""
        epochs, started = self.config.training.epochs, time.perf_counter() - self.elapsed
        accuracy, average = None, None
        with self._progress_bar(trainer) as bar:
            for epoch in range(self.first_epoch, epochs):
                entry = trainer.train_epoch(epoch, bar)
                accuracy, average, begin = None, None, time.perf_counter()
                if epoch + 1 == epochs or self.config.logging.log_level > 0:
                    accuracy, average = self._validate(trainer)
                if trainer.step.ema:
                    entry.update(average_entry(average))
                entry["val_seconds"] = time.perf_counter() - begin
                entry["val_resolution"] = self.config.validation.resolution
                self.elapsed = time.perf_counter() - started
                self._tell_skips()
                entry.update({**accuracy_entry(accuracy), "elapsed_seconds": self.elapsed})
                record.epoch({**entry, **self.stage.entry()})
                if self.ranks.main:
                    resume.save(record.folder, self.config, trainer, self.model, epoch + 1, self.elapsed)
        # A run that was ended between its last epoch and its result has but this left to do.
        return (accuracy, average) if accuracy else self._validate(trainer)

    def _validate(self, trainer: Trainer) -> tuple[Accuracy, Accuracy | None]:
        """The accuracy of the weights, and that of their average where there is one."""
        accuracy = self.validator.accuracy(self.model)
        return accuracy, self.validator.accuracy(trainer.step.ema.model) if trainer.step.ema else None

    def _tell_skips(self) -> None:
        """A line for each sample that this rank has left out, once."""
        loaders = [part.loader for part in (self.trainer, self.validator, self.search) if part is not None]
        for line in (line for loader in loaders for line in loader.new_skips()):
            print(f"note: left out: {line}", flush=True)

    def _progress_bar(self, trainer: Trainer) -> "tqdm[Any]":
        images = [
            trainer.steps(epoch) * trainer.plan(epoch).global_batch
            for epoch in range(self.config.training.epochs)
        ]
        label = self.stage.label
        return tqdm(
            total=sum(images),
            initial=sum(images[: self.first_epoch]),
            unit="img",
            unit_scale=True,
            bar_format=f"{label}, {{l_bar}}{{bar}}{{r_bar}}" if label else None,
            # None: shown on a terminal only; a log file gets the epoch lines alone.
            disable=None if self.ranks.main and self.config.logging.log_level > 0 else True,
        )

    def _build_trainer(self, train: Beton) -> Trainer:
        loader = open_loader(self.config, self.ranks, self.precision, train, training=True)
        self._owned.enter_context(loader)
        trainer = Trainer(self.config, self.ranks, self.precision, loader, self.model, self.classes.count)
        if self.config.training.resume:
            progress = resume.restore(self.config, trainer, self.model)
            self.first_epoch, self.elapsed = progress.epoch, progress.elapsed
        if self.ranks.main:
            alike = len(set(trainer.plans.values())) == 1
            lines = [f"{'' if alike else f'{side} px: '}{plan}" for side, plan in trainer.plans.items()]
            print("\n".join(lines[:1] if alike else lines), flush=True)
        return trainer

    def close(self) -> None:
        """End the loaders' threads."""
        self._owned.close()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _set_backends(device: torch.device, *, tf32: bool) -> None:
    """Fastest convolutions for fixed shapes; and what is called fp32 is fp32, unless TF32 is asked for."""
    if device.type == "cpu":
        keep_freed_memory()
    else:
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
