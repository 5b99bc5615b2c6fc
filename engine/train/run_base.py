"""What all kinds of runs share: their parts, the lines that start and end their log, and their end."""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Self

from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.data.beton.pair import ClassList, class_doubts, refuse_other_classes
from engine.data.beton.reader import Beton
from engine.models.build import weights_note
from engine.runs.log_schema import ResultLine, StartLine, validation_fields
from engine.train.budget.verdict import Verdict
from engine.train.evaluation.accuracy import Accuracy
from engine.train.evaluation.validator import PLAIN_CROP_LAW
from engine.train.ranks.backends import set_backends
from engine.train.ranks.group import Ranks
from engine.train.step.precision import choose_precision
from engine.train.weights import build_network


class RunBase:
    """One rank's side of a run. A subclass calls `take_classes`, sets `model`, and has `execute` do the work."""

    classes: ClassList
    model: nn.Module

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        self.config, self.ranks = config, ranks
        self.precision = choose_precision(config.training.precision, ranks.device)
        self._owned = ExitStack()
        training = config.training
        if self.precision.note:
            self._note(self.precision.note)
        set_backends(ranks.device, tf32=training.tf32, deterministic=training.deterministic)

    def take_classes(self, classes: ClassList) -> None:
        """Set `classes` to those of the data. Raises UserError for others than data.classes."""
        refuse_other_classes(classes, self.config.data.classes)
        self.classes = classes

    @property
    def repeatable(self) -> TrainConfig:
        """The configuration with the data's classes: as config.yaml it refuses data of others."""
        return with_known_classes(self.config, self.classes)

    def build_network(self) -> nn.Module:
        """The recipe's network for `classes`, with its weights. Raises UserError, as for weights of other classes."""
        return build_network(
            self.config, self.classes.count, self.ranks.device, self.classes.names, tell=self._note
        )

    def tell_doubts(self, *betons: Beton) -> None:
        """Rank 0 prints what is odd about the labels of files without class names."""
        for doubt in class_doubts(*betons):
            self._note(doubt)

    def _note(self, line: str) -> None:
        if self.ranks.main:
            print(f"note: {line}", flush=True)

    def start_line(self, **fields: Any) -> StartLine:
        """What is known before the first step, and `fields` of this kind of run."""
        return StartLine(
            device=self.ranks.device.type,
            precision=self.precision.name,
            world_size=self.ranks.world,
            num_classes=self.classes.count,
            classes_known=self.classes.names is not None,
            classes=self.classes.digest,
            arch=self.config.model.arch,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            **fields,
        )

    def result_line(
        self,
        accuracy: Accuracy,
        plain: Accuracy,
        verdict: Verdict,
        elapsed: float,
        weights: str | None,
        **fields: Any,
    ) -> ResultLine:
        """How accuracy was measured, what it was, and whether the target was met; `elapsed` in seconds."""
        config = self.config
        validation, budget = config.validation, config.budget
        return ResultLine(
            **validation_fields(accuracy),
            plain_top1=plain.top1_no_tta,
            plain_top5=plain.top5_no_tta,
            plain_resolution=validation.plain_resolution,
            plain_ratio=validation.plain_ratio,
            plain_crop_law=PLAIN_CROP_LAW,
            val_resolution=validation.resolution,
            val_ratio=validation.ratio,
            val_crop_law=validation.crop_law,
            tta=validation.lr_tta,
            num_val=accuracy.count,
            elapsed_seconds=elapsed,
            target_top1=budget.target_top1 or None,
            budget_seconds=budget.seconds or None,
            met=verdict.met,
            verdict=verdict.sentence,
            weights=weights,
            weights_note=weights_note(config.model.arch, use_blurpool=config.training.use_blurpool),
            **fields,
        )

    def close(self) -> None:
        """End the loaders' threads."""
        self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def with_known_classes(config: TrainConfig, classes: ClassList) -> TrainConfig:
    """`config` with data.classes those of its data, where the data name them."""
    return replace(config, data=replace(config.data, classes=classes.digest or config.data.classes))
