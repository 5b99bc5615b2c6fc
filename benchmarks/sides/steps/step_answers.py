"""What a side's process answers in the stages step, overhead and train: start a case, time rounds, release memory.

Imports nothing heavy: the measuring process passes these functions to the side's process.
"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from benchmarks.harness.method import Round
from benchmarks.harness.processes.usage import busy_seconds
from benchmarks.sides.steps.step_tasks import LoopRound, LoopTask, Start, StepTask, TrainTask

if TYPE_CHECKING:
    from benchmarks.sides.steps.step_training import Training
    from benchmarks.sides.trainings.trainer_loop import Loop

# Before the clock starts, since the other side's data are in the processor's cache.
UNTIMED_STEPS = 2


def settings(side: Any, task: Any) -> str:
    """How the side is set up, in words."""
    return str(side.settings)


def start(training: "Training", task: StepTask, resolution: int, batch: int) -> Start:
    """Begin again with the common weights at that size, and take the first steps."""
    return training.start(resolution, batch)


def round_of_steps(training: "Training", task: StepTask, number: int, steps: int) -> Round:
    """Time that many steps."""
    training.steps(UNTIMED_STEPS)
    return timed(steps * training.batch, lambda: training.seconds(steps))


def rest(training: "Training", task: StepTask) -> None:
    """Release the device's memory for the other sides."""
    training.rest()


def loop_round(both: "Loop", task: LoopTask) -> LoopRound:
    """Time an epoch of the trainer and as many bare steps, in turns."""
    seconds = (0.0, 0.0)

    def work() -> float:
        nonlocal seconds
        seconds = both.in_turns()
        return sum(seconds)

    images = task.steps * task.batch
    whole = timed(2 * images, work)
    loop, bare = (images / each for each in seconds)
    return LoopRound(loop=loop, bare=bare, other_cores=whole.other_cores)


def close(both: "Loop", task: LoopTask) -> None:
    """End the run's record."""
    both.close()


def timed(images: int, work: Callable[[], float]) -> Round:
    """A round of `images` images; `work` does it and returns the seconds that count."""
    busy, cpu, started = busy_seconds(), time.process_time(), time.perf_counter()
    seconds = work()
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    other = max(0.0, (busy_seconds() - busy - cpu) / took)
    return Round(images=images, seconds=seconds, cpu_seconds=cpu, other_cores=other)


def epoch(training: Any, task: TrainTask) -> Round:
    """Time an epoch of whole training."""
    return timed(task.steps * task.images.batch, training.epoch)


def limits(training: Any, task: TrainTask) -> dict[str, str]:
    """What limited our last epoch, as its log says."""
    found: dict[str, str] = training.limits
    return found


STEP_ANSWERS: Mapping[str, Callable[..., Any]] = {
    "settings": settings,
    "start": start,
    "round": round_of_steps,
    "rest": rest,
}
LOOP_ANSWERS: Mapping[str, Callable[..., Any]] = {
    "settings": settings,
    "round": loop_round,
    "close": close,
}
TRAIN_ANSWERS: Mapping[str, Callable[..., Any]] = {
    "settings": settings,
    "epoch": epoch,
    "limits": limits,
}
