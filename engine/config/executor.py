"""The section `run` of write_dataset.py: on which machines a conversion runs, and in how many parts."""

import shlex
from dataclasses import dataclass

from engine.config.options import option
from engine.errors import UserError

LOCAL, DASK, SLURM = "local", "dask", "slurm"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Which machines convert: this one, or a Dask or Slurm cluster that converts many shards at a time.

    The same command continues with the shards that are missing. The result has the same bytes as one machine's.
    """

    on: str = option(
        LOCAL,
        "local: this machine. dask: the workers of a Dask cluster (extra dask). slurm: an array job (extra slurm); the "
        "command may be ended and given again to watch it",
        choices=(LOCAL, DASK, SLURM),
    )
    scheduler: str = option(
        "",
        "dask: the scheduler's address, such as tcp://HOST:8786; empty = workers on this machine",
    )
    sbatch: str = option(
        "",
        "slurm: options as sbatch takes them, such as '--partition=cpu --time=120 --cpus-per-task=16'. A shard that is "
        "not done by the time limit (--time, default 60 minutes) is queued again and continues",
    )
    workers: int = option(
        0,
        "shards converted at the same time. 0 = local: 1; dask: one per worker of the scheduler, or one per 4 cores of "
        "this machine; slurm: 16",
        low=0,
        high=100_000,
    )
    shards: int = option(
        0,
        "parts in which the data set is converted; may not change once a conversion has begun. 0 = 4 per worker, with "
        "local no shards",
        low=0,
        high=100_000,
    )
    folder: str = option(
        "",
        "where shards lie until they are merged: a folder that all workers share, or a URL that fsspec supports; empty "
        "= shards/ in output.folder",
    )
    storage_options: str = option(
        "", "with a URL as folder: options for fsspec as a JSON object, as in source.storage_options"
    )
    merge: bool = option(True, "merge the shards once all are done, and remove them; false = leave them")

    @property
    def in_shards(self) -> bool:
        """Whether many shards are converted and merged, instead of a file in one go."""
        return self.on != LOCAL or self.shards > 0


def check_run(run: RunConfig, copy_rules: dict[str, str], shard: str, overwrite: bool) -> None:
    """Raise UserError for options of `run` that contradict each other or other sections.

    `copy_rules` are those of RulesConfig that need all images, `shard` and `overwrite` options of OutputConfig.
    """
    if run.scheduler and run.on != DASK:
        raise UserError(f"run.scheduler is for run.on={DASK}: pass that, or drop the option")
    if run.sbatch and run.on != SLURM:
        raise UserError(f"run.sbatch is for run.on={SLURM}: pass that, or drop the option")
    if run.storage_options and "://" not in run.folder:
        raise UserError("run.storage_options is for a URL as run.folder: drop the option")
    if not run.in_shards:
        for name, default in (("workers", 0), ("folder", ""), ("merge", True)):
            if getattr(run, name) != default:
                raise UserError(
                    f"run.{name} is for a conversion in shards: pass run.shards=N, or drop the option"
                )
        return
    if shard:
        raise UserError(
            f"output.shard is one shard, and run.on={run.on} converts all of them: drop one of the two"
        )
    if overwrite:
        raise UserError(
            "output.overwrite does not work with run.on or run.shards: remove the old files first"
        )
    if not run.merge and set(copy_rules.values()) != {"keep"}:
        names = ", ".join(f"rules.{name}" for name, rule in copy_rules.items() if rule != "keep")
        raise UserError(
            f"{names} need the merge, and run.merge is false: leave them at keep, or drop run.merge"
        )
    sbatch_options(run.sbatch)


def sbatch_options(text: str) -> dict[str, str | bool]:
    """run.sbatch as name -> value, True for an option without one. Raises UserError unless each is --NAME[=VALUE]."""
    options: dict[str, str | bool] = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"run.sbatch: {text!r} can't be read: {error}") from None
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise UserError(
                f"run.sbatch: {word!r} is not --NAME=VALUE or --NAME: write it so, as in --time=120"
            )
        options[name] = value if equals else True
    return options
