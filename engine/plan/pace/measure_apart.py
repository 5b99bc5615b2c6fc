"""Measures this machine's pace in a process of its own: torch and its memory are gone before the run begins.

A measurement keeps more than a gigabyte in use, which the training that follows may need. For a command that starts the
training itself, as the speedrun does.
"""

import multiprocessing
import signal
from multiprocessing.connection import Connection

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.plan.pace.machine_pace import Pace
from engine.train.ranks.process import limit_spinning


def measure_apart(config: TrainConfig, seconds: float) -> Pace:
    """As measure_pace of measure.py, in a new process, whose start counts into `seconds`.

    Raises UserError as it does, or if the process dies.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(config, seconds, sender), daemon=True)
    process.start()
    # Now only the child can send: if it dies, receiving ends too.
    sender.close()
    try:
        found: Pace | UserError = receiver.recv()
    except EOFError:
        raise UserError(
            "measuring this machine failed: the process was ended, perhaps for lack of memory"
        ) from None
    finally:
        process.terminate()
        process.join()
    if isinstance(found, UserError):
        raise found
    return found


def _measure(config: TrainConfig, seconds: float, sender: Connection) -> None:
    # Ctrl-C is answered by the parent, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # It acts on the import of torch.
    limit_spinning()
    # What a run imports: the time it takes is a part of the run's.
    import engine.report.run_display
    import engine.train.recipe.recipe_run  # noqa: F401
    from engine.plan.pace.measure import measure_pace
    from engine.train.budget.clock import process_start

    try:
        sender.send(measure_pace(config, seconds, begun=process_start()))
    except UserError as error:
        sender.send(error)
