"""A run of data.replay: how fast the steps are when no image has to be read or decoded. It leaves no result.

Nothing is validated, and neither weights nor checkpoints are written: a network that saw a few batches again and again
must not be taken for a trained one.
"""

import time
from typing import Any

from engine.train.entries import accuracy_entry, facts_entry
from engine.train.recording import Record
from engine.train.run import Run


class CeilingRun(Run):
    """A Run whose epochs replay their first batches."""

    def execute(self, record: Record) -> int:
        """Train, and write down how fast that was; always 0."""
        replay = self.config.data.replay
        facts = facts_entry(self.config, self.ranks, self.precision, self.model, self.classes)
        facts |= self.trainer.plan(0).entry()
        record.start({**facts, "replay": replay, "num_train": self.trainer.num_samples})
        images, seconds, begin = 0, 0.0, time.perf_counter()
        with record.live(self._outlook()) as bar:
            for epoch in range(self.config.training.epochs):
                entry = self.trainer.train_epoch(epoch, bar)
                images, seconds = images + entry["images"], seconds + entry["train_seconds"]
                self.elapsed = time.perf_counter() - begin
                record.epoch(
                    {**entry, **_nothing(replay), "val_seconds": 0.0, "elapsed_seconds": self.elapsed}
                )
        rate = images / seconds
        record.finish(
            {
                **_nothing(replay),
                "elapsed_seconds": self.elapsed,
                "images_per_second": rate,
                "verdict": f"replay of {replay} batches, no result: {rate:,.0f} images/s without reading or decoding",
                "met": None,
                "weights": None,
                "weights_note": "data.replay saves none",
            }
        )
        self.ranks.barrier()
        return 0


def _nothing(replay: int) -> dict[str, Any]:
    """What each line says: that it is of a replay, and no accuracy."""
    return {"replay": replay, **accuracy_entry(None)}
