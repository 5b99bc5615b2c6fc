"""train_imagenet.py with a line for each step, and an end at a moment that is named: what a kill just then does.

Run as a script it is a server: it imports what training needs, forks a process for each line of its input, a JSON
object with `argv`, `trace`, `strike` and `output` (a file), and answers with its exit code (negative: the signal that
ended it). The imports are paid for once; the processes and what ends them are real. With TRACE in the environment it
is the script itself, for torchrun.

A strike is SIGNAL@MOMENT, as in KILL@step:1:3. Moments are `start`, `step:EPOCH:STEP` (so many steps of that epoch are
done, both from 0), `validation:N` (amid the Nth) and `save:N` (when half of the Nth checkpoint is written).
"""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.data.loading.loader import Loader
from engine.data.sampling.crops import CenterCrop
from engine.errors import run_cli
from engine.files import atomic_write
from engine.train.checkpoints import checkpoint_file
from engine.train.run import Run
from engine.train.step import nonfinite
from engine.train.step.nonfinite import EpochLosses
from engine.train.trainer import Trainer
from train_imagenet import main


def trace(path: str, strike: str) -> None:
    """Have this process write a line for each step to `path`, and strike itself at the moment named."""
    what, _, wanted = strike.partition("@")

    def tell(moment: str) -> None:
        if moment == wanted:
            os.kill(os.getpid(), signal.Signals[f"SIG{what}"])

    # Epochs are short here.
    nonfinite.LOOK_EVERY = 4
    ids: list[int] = []
    _trace_data(ids, tell)
    _trace_steps(path, ids, tell)
    _trace_saving(tell)
    build = Run._build_trainer

    def started(*arguments: Any) -> Trainer:
        tell("start")
        return build(*arguments)

    Run._build_trainer = started  # type: ignore[method-assign, assignment]


def _trace_data(ids: list[int], tell: Callable[[str], None]) -> None:
    """Gather the samples of the batches that a step is given."""
    batches, validations = Loader.batches, itertools.count(1)

    def traced(loader: Loader, views: Any, resolution: int, crop: Any, windows: Any = None) -> Iterator[Any]:
        number = next(validations) if isinstance(crop, CenterCrop) else 0
        for batch in (inner := batches(loader, views, resolution, crop, windows)):
            if number:
                tell(f"validation:{number}")
            else:
                ids.extend(batch.ids.tolist())
            try:
                yield batch
            except GeneratorExit:
                inner.close()
                raise

    Loader.batches = traced  # type: ignore[method-assign, assignment]


def _trace_steps(path: str, ids: list[int], tell: Callable[[str], None]) -> None:
    make, note = EpochLosses.__init__, EpochLosses.note

    def made(losses: EpochLosses, *arguments: Any, **named: Any) -> None:
        make(losses, *arguments, **named)
        tell(f"step:{losses.epoch}:0")

    def noted(losses: EpochLosses, loss: Any, left_out: Any) -> None:
        line = {"epoch": losses.epoch, "step": losses._noted, "ids": [*ids], "loss": float(loss).hex()}
        ids.clear()
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")
        note(losses, loss, left_out)
        tell(f"step:{losses.epoch}:{losses._noted}")

    EpochLosses.__init__, EpochLosses.note = made, noted  # type: ignore[method-assign, assignment]


def _trace_saving(tell: Callable[[str], None]) -> None:
    write, saves = atomic_write, itertools.count(1)

    @contextmanager
    def written(path: Path) -> Iterator[Any]:
        with write(path) as file:
            yield _Halting(file, lambda: tell(f"save:{next(saves)}"))

    checkpoint_file.atomic_write = written  # type: ignore[attr-defined]


class _Halting:
    """A file that tells when half of what is written to it at once is there."""

    def __init__(self, file: Any, half: Callable[[], None]) -> None:
        self._file, self._half = file, half

    def write(self, content: memoryview) -> None:
        middle = len(content) // 2
        self._file.write(content[:middle])
        self._file.flush()
        self._half()
        self._file.write(content[middle:])


def _run(asked: dict[str, Any]) -> None:
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.argv = ["train_imagenet.py", *asked["argv"]]
    trace(asked["trace"], asked["strike"])
    run_cli(main)


def _serve() -> None:
    # On one core a network this small is no slower, and does not wait for threads that other tests hold up.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    if "TRACE" in os.environ:
        trace(f"{os.environ['TRACE']}.{os.environ['RANK']}", os.environ.get("STRIKE", ""))
        run_cli(main)
    _serve()
