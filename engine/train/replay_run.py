"""A run of data.replay: how fast the steps are when no image has to be read or decoded."""

import time

from engine.runs.log_schema import ResultLine, validation_fields
from engine.runs.run_writer import RunWriter
from engine.train.run import Run


class ReplayRun(Run):
    """A Run of data.replay: how fast the steps are when no image has to be read or decoded. It leaves no result.

    Nothing is validated, and neither weights nor checkpoints are written: a network that saw a few batches again and
    again must not be taken for a trained one.
    """

    def execute(self, record: RunWriter) -> int:
        """Train, and log how fast that was; always returns 0."""
        replay = self.config.data.replay
        plan, num_train = self.trainer.plan(0).entry(), self.trainer.num_samples
        record.start(self.start_line(**plan, replay=replay, num_train=num_train))
        nothing = {"replay": replay, **validation_fields(None)}
        images, seconds, begin = 0, 0.0, time.perf_counter()
        with record.live(self._outlook()) as bar:
            for epoch in range(self.config.training.epochs):
                line = self.trainer.train_epoch(epoch, bar)
                images, seconds = images + (line.images or 0), seconds + (line.train_seconds or 0.0)
                self.elapsed = time.perf_counter() - begin
                record.epoch(line.replaced(**nothing, val_seconds=0.0, elapsed_seconds=self.elapsed))
        rate = images / seconds
        record.finish(
            ResultLine(
                **nothing,
                elapsed_seconds=self.elapsed,
                images_per_second=rate,
                verdict=f"replay of {replay} batches, no result: {rate:,.0f} images/s without reading or decoding",
                met=None,
                weights=None,
                weights_note="data.replay saves none",
            )
        )
        self.ranks.barrier()
        return 0
