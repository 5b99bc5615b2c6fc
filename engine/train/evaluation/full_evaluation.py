"""All that is measured of a network on a file in one reading of it, as evaluation.json has it.

Accuracy under several conditions; under the first of them, the recipe's own, by class, by pair of classes taken for
each other, by confidence and, where the original images are at hand, through Pillow and torchvision.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from engine.data.beton.pair import ClassList
from engine.data.loading.loader import Batch
from engine.data.sources.originals import Originals
from engine.progress import Progress
from engine.runs.evaluation_schema import Evaluation
from engine.runs.log_schema import validation_fields
from engine.train.evaluation.accuracy import Accuracy, BySample, are_finite, hits, logarithms
from engine.train.evaluation.class_statistics import (
    NO_CLASS,
    Outcomes,
    by_class,
    calibration,
    confusions,
    figure,
)
from engine.train.evaluation.decoder_comparison import Comparison
from engine.train.evaluation.validator import Conditions, Validator, own_conditions, plain_conditions


class Examination:
    """Of one network; `validator` reads the file, `originals` the files that it was made of."""

    def __init__(
        self, validator: Validator, model: nn.Module, classes: ClassList, originals: Originals | None
    ) -> None:
        self.validator, self.model = validator, model
        self.names = classes.names or [str(label) for label in range(classes.count)]
        validation, beton = validator.validation, validator.loader.beton
        self.own, self.plain = own_conditions(validation), plain_conditions(validation)
        further = sorted(set(validation.resolution_list()) - {validation.resolution})
        self.further = [own_conditions(validation, side) for side in further]
        self._outcomes = BySample(beton.num_samples, 4, validator.ranks)
        self._comparison = originals and Comparison(
            originals, validator.forward.of(model), self.own, validator.precision, validator.ranks
        )

    def run(self) -> tuple[Accuracy, Accuracy, Evaluation]:
        """The accuracy under the recipe's conditions, that under the plain ones, and all that was found."""
        conditions = [self.own, *self.further, self.plain]
        ranks = self.validator.ranks
        total = len(conditions) * len(self.validator.ids) // ranks.world
        with Progress("evaluation", total, shown=ranks.main) as progress:

            def watch(number: int, batch: Batch, final: torch.Tensor, plain: torch.Tensor) -> None:
                if number == 0:
                    self._see(batch, final, plain)
                progress.update(len(batch.ids))

            accuracies = self.validator.measure(self.model, conditions, watch)
        return accuracies[0], accuracies[-1], self._found(conditions, accuracies)

    def _see(self, batch: Batch, final: torch.Tensor, plain: torch.Tensor) -> None:
        confidence, predicted = final.max(1)
        predicted = predicted.where(are_finite(final), NO_CLASS)
        chosen = logarithms(final).gather(1, batch.labels[:, None])[:, 0]
        self._outcomes.put(batch.ids, predicted, hits(final, batch.labels)[1], confidence, -chosen)
        if self._comparison:
            self._comparison.see(batch, plain)

    def _found(self, conditions: list[Conditions], accuracies: list[Accuracy]) -> Evaluation:
        loader = self.validator.loader
        samples, (predicted, in_top5, confidence, losses) = self._outcomes.gather()
        outcomes = Outcomes(
            labels=loader.beton.labels[samples],
            predicted=predicted.astype(np.int64),
            in_top5=in_top5 > 0,
            confidence=confidence,
            losses=losses,
        )
        measured = [
            _entry(one, accuracy) for one, accuracy in zip(conditions[:-1], accuracies[:-1], strict=True)
        ]
        found = {
            "images": len(samples),
            "left_out": loader.beton.num_samples - len(samples),
            "decoder": loader.decoder[0],
            **measured[0],
            "resolutions": sorted(measured, key=lambda entry: int(entry["resolution"])),
            "plain": _entry(conditions[-1], accuracies[-1]),
            "calibration": calibration(outcomes),
            "classes": by_class(outcomes, self.names),
            "confusions": confusions(outcomes, self.names),
        }
        if self._comparison:
            found["reference"] = self._comparison.result()
        return Evaluation.from_json(found)


def _entry(conditions: Conditions, accuracy: Accuracy) -> dict[str, Any]:
    """An accuracy and how it was measured."""
    measured = validation_fields(accuracy)
    # Its last digits are those of the order in which the ranks' sums were added up.
    measured["val_loss"] = figure(accuracy.loss)
    return {
        "resolution": conditions.resolution,
        "ratio": conditions.ratio,
        "tta": conditions.tta,
        "crop_law": conditions.crop_law,
        **measured,
    }
