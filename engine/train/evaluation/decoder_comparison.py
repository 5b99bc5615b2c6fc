"""The same network on the same images, decoded by this engine and by Pillow and torchvision.

The pixels in training should equal those in use; the gap in points is the cost of a difference (NVIDIA/DALI#2966,
huggingface/pytorch-image-models#1324).
"""

from typing import Any

import torch

from engine.data.loading.loader import Batch
from engine.data.sampling.crops import resized_side
from engine.data.sampling.order import samples_of
from engine.data.sources.originals import Originals, normalised
from engine.train.augment.augmentation import upload
from engine.train.evaluation.accuracy import BySample, hits, probabilities
from engine.train.evaluation.class_statistics import figure
from engine.train.evaluation.validator import Conditions
from engine.train.ranks.group import Ranks
from engine.train.step.compiling import Forward
from engine.train.step.precision import Precision


class Comparison:
    """Compares the network's probabilities on the engine's batches, without TTA, with those on the original files."""

    def __init__(
        self,
        originals: Originals,
        forward: Forward,
        conditions: Conditions,
        precision: Precision,
        ranks: Ranks,
    ) -> None:
        self.originals, self.forward, self.conditions = originals, forward, conditions
        self.precision, self.ranks = precision, ranks
        self._found = BySample(len(originals.matched.numbers), 7, ranks)

    def see(self, batch: Batch, ours: torch.Tensor) -> None:
        """Compare a batch; `ours` are the probabilities (n, classes) on the engine's pixels."""
        resolution, ratio = self.conditions.resolution, self.conditions.ratio
        originals = self.originals.images(samples_of(batch.ids), resolution, ratio)
        images = upload(originals.numpy(), self.ranks.device)
        # In the engine's memory order, so that the network rounds alike.
        prepared = torch.empty_like(batch.images).copy_(normalised(images, batch.images.dtype))
        theirs = probabilities(self.forward, prepared, self.precision)
        changed = ours.argmax(1) != theirs.argmax(1)
        difference = (ours - theirs).abs()
        self._found.put(
            batch.ids,
            *hits(ours, batch.labels),
            *hits(theirs, batch.labels),
            changed,
            difference.mean(1),
            difference.sum(1) / 2,
        )

    def result(self) -> dict[str, Any]:
        """The comparison over all ranks, in the form of evaluation.json; see docs/guide/evaluate.md."""
        _, rows = self._found.gather()
        top1, top5, their_top1, their_top5, changed, difference, moved = rows
        images, matched = len(top1), self.originals.matched
        return {
            "images": images,
            "resolution": self.conditions.resolution,
            "short_side": resized_side(self.conditions.resolution, self.conditions.ratio),
            "engine_top1": top1.sum() / images,
            "engine_top5": top5.sum() / images,
            "top1": their_top1.sum() / images,
            "top5": their_top5.sum() / images,
            "gap_points": figure(100 * (top1.sum() - their_top1.sum()) / images),
            "changed": int(changed.sum()),
            "mean_difference": figure(difference.mean()),
            "moved": figure(moved.mean()),
            "rejected": matched.rejected,
            "not_in_file": matched.others,
        }
