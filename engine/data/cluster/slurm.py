"""run.on=slurm: shards as tasks of an array job, by submitit.

A task that is preempted, loses its node or reaches its time limit is queued again by Slurm and continues.
The queue is asked with squeue, which works without an accounting database. The jobs are noted in slurm/jobs.json in
output.folder, so the command may be ended and given again: it then watches the jobs that it finds in the queue.
"""

import importlib.util
import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import engine
from engine.config.executor import sbatch_options
from engine.config.write import WriteConfig
from engine.data.cluster.attempt import Attempt, run_shard
from engine.errors import UserError
from engine.files import atomic_write

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

_SLOTS = 16
_MINUTES = 60
_ENDS_BEFORE = 60
"""Seconds before its time limit at which a task ends itself and is queued again."""
_REQUEUES = 10_000
_ANSWER_SECONDS = 60


class _Task:
    """What an array task runs."""

    def __call__(self, attempt: Attempt) -> None:
        cores = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE") or "0"
        run_shard(replace(attempt, workers=attempt.config.output.num_workers or int(cores)))

    def checkpoint(self, attempt: Attempt) -> "DelayedSubmission":
        """What it runs when it is queued again: the same, since the shard's own files say how far it is."""
        from submitit.core.utils import DelayedSubmission

        return DelayedSubmission(self, attempt)


class SlurmExecutor:
    """Array jobs of this user."""

    pause = 5.0

    def __init__(self, config: WriteConfig) -> None:
        if importlib.util.find_spec("submitit") is None:
            raise UserError("run.on=slurm needs submitit, which is not installed: pip install submitit")
        self.slots = config.run.workers or _SLOTS
        self._options = sbatch_options(config.run.sbatch)
        self._folder = Path(config.output.folder).resolve() / "slurm"
        self._jobs: dict[str, str] = {}
        self._answered = self._silent = False

    def __enter__(self) -> "SlurmExecutor":
        try:
            self._jobs = json.loads((self._folder / "jobs.json").read_bytes())
        except (OSError, ValueError):
            self._jobs = {}
        self._queue()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._jobs:
            arrays = " ".join(sorted({job.partition("_")[0] for job in self._jobs.values()}))
            print(
                f"Slurm goes on with {len(self._jobs):,} shards: the same command watches them again, `scancel "
                f"{arrays}` ends them",
                flush=True,
            )

    def start(self, attempts: Sequence[Attempt]) -> None:
        """See Executor. Shards that are in the queue are left there."""
        queued = self._queue()
        self._jobs = {shard: job for shard, job in self._jobs.items() if job in queued}
        new = [attempt for attempt in attempts if attempt.shard not in self._jobs]
        if new:
            self._submit(new)

    def poll(self) -> Iterable[tuple[str, str]]:
        """See Executor."""
        queued = self._queue()
        for shard, job in list(self._jobs.items()):
            if job not in queued:
                del self._jobs[shard]
                self._note()
                yield shard, ""

    def _submit(self, attempts: Sequence[Attempt]) -> None:
        from submitit.core.utils import FailedJobError, FailedSubmissionError
        from submitit.slurm import slurm

        root = Path(engine.__file__).parents[1]
        try:
            executor = slurm.SlurmExecutor(self._folder, max_num_timeout=_REQUEUES)
            executor.update_parameters(
                job_name="convert",
                time=_MINUTES,
                signal_delay_s=_ENDS_BEFORE,
                array_parallelism=self.slots,
                stderr_to_stdout=True,
                setup=[f'export PYTHONPATH="{root}:$PYTHONPATH"'],
                additional_parameters={"requeue": True, **self._options},
            )
            jobs = executor.map_array(_Task(), attempts)
        except (RuntimeError, FailedJobError, FailedSubmissionError) as error:
            raise UserError(f"run.on=slurm: the jobs can't be submitted: {_line(error)}") from None
        self._jobs |= {attempt.shard: job.job_id for attempt, job in zip(attempts, jobs, strict=True)}
        self._note()

    def _note(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._folder / "jobs.json") as file:
            file.write(json.dumps(self._jobs).encode())

    def _queue(self) -> set[str]:
        """The ids of this user's jobs and array tasks that wait or run.

        While Slurm does not answer, which is usual when it is busy or restarted, those that are known. Raises
        UserError where it does not answer the first time.
        """
        ask = ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i"]
        try:
            told = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=_ANSWER_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            why = getattr(error, "stderr", "") or str(error)
            if not self._answered:
                raise UserError(f"run.on=slurm: squeue does not work here: {_line(why)}") from None
            if not self._silent:
                print(f"note: Slurm does not answer ({_line(why)}): asking again", flush=True)
            self._silent = True
            return {*self._jobs.values()}
        self._answered, self._silent = True, False
        return {*told.stdout.split()}


def _line(error: object) -> str:
    return " ".join(str(error).split())
