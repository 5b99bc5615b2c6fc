"""Measures this machine's pace for a recipe, with the parts that a run is made of: loader, step, validator, checkpoint.

Per resolution, in this order: the loader alone (which also brings its images into memory), the step alone on images
that are there, and both together as in a run. All three are timed in blocks; how far the blocks differ, and a floor for
what a short measurement can't see, make the interval. Nothing is kept.

Each part takes its share of the time that is left, and at least one timed step: a machine on which steps are slow is
measured at fewer resolutions, not for longer.
"""

import io
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.config.train.train_config import TrainConfig
from engine.data.beton.pair import agree_on_classes
from engine.data.loading.loader import Loader
from engine.data.remote.open_data import open_data
from engine.devices import is_gpu
from engine.errors import UserError
from engine.plan.candidates import sides_of
from engine.plan.pace.machine_pace import LEAST_SECONDS, MOST_SECONDS, Z90, Pace, SidePace
from engine.plan.pace.timing import Timer, Timing
from engine.progress import Progress
from engine.runs.machine import machine
from engine.train.checkpoints import checkpoint_file
from engine.train.evaluation.validator import Validator
from engine.train.open_loader import open_loader
from engine.train.ranks.backends import set_backends
from engine.train.ranks.group import Ranks, process_group
from engine.train.step.precision import Precision, choose_precision
from engine.train.trainer import Trainer
from engine.train.weights import build_network

FLOOR_CPU, FLOOR_GPU = 0.08, 0.04
"""Least half-width of the 90% interval, as a share: a CPU's clock and its other work change within minutes."""

_MOST_SIDES = 4
_CPU_BATCH = 256
# Shares of the time that is left: of a resolution's for the loader, the step, and both together; of all for the rest.
_LOADER, _STEP, _TOGETHER = 0.15, 0.2, 0.65
_VALIDATION, _PRECISIONS = 0.15, 0.1
_LEAST_TIMED = 4.0
"""Seconds for the parts where the start of Python takes most of the time."""
_ROUNDING = 1.0
"""Seconds that the last block of a part may take beyond its share."""
_A_RUNS_IMPORTS = "import engine.train.recipe.recipe_run, engine.report.run_display"


def measure_pace(
    config: TrainConfig, seconds: float = 20.0, *, shown: bool = True, begun: float | None = None
) -> Pace:
    """The pace of this machine for `config`, measured for at most `seconds` in all.

    The start of Python and torch counts into them; where it is slow, the parts still get 4 s (or `seconds`, if less).
    Where not even nine steps and two small validations fit into the time, these are waited for.

    `begun`: when this process was started (time.perf_counter), if it has done nothing since but import what a run
    imports. That counts as the run's imports then, and into `seconds`; else another process is started to time them.
    Raises UserError for data or a network that can't be used, for several processes, and for senseless seconds.
    """
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise UserError(
            f"--seconds {seconds:g}: a measurement takes {LEAST_SECONDS:g} to {MOST_SECONDS:g} seconds"
        )
    begin = time.perf_counter() if begun is None else begun
    with (
        process_group(config.training.device, pin_cores=config.data.pin_cores) as ranks,
        # What a run says about its files and its compiler would come several times over, and into the plan's output.
        redirect_stdout(io.StringIO()),
    ):
        if ranks.world > 1:
            raise UserError(
                "--measure times one process: start it with python, and say --gpus N for several GPUs"
            )
        if begun is None:
            _import()
        return _Measurement(config, ranks, begin, seconds).pace(shown=shown)


def _import() -> None:
    """Start a process that imports what a run imports: a part of each run's set-up."""
    subprocess.run(
        [sys.executable, "-c", _A_RUNS_IMPORTS], check=True, cwd=Path(__file__).resolve().parents[3]
    )


class _Measurement:
    """One measurement: the open files, the clock, and what was found so far."""

    def __init__(self, config: TrainConfig, ranks: Ranks, begin: float, seconds: float) -> None:
        self.config, self.ranks = _as_measured(config, ranks), ranks
        self._begin, self._seconds = begin, seconds
        self.train, self.val = (
            open_data(place, config.data) for place in (config.data.train_dataset, config.data.val_dataset)
        )
        self.classes = agree_on_classes(self.train, self.val).count
        self.notes: list[str] = []
        self._timer = Timer(ranks.device)

    def pace(self, *, shown: bool) -> Pace:
        """Measure everything. The set-up is what went before: a run's imports, the files, the network."""
        training = self.config.training
        set_backends(self.ranks.device, tf32=training.tf32, deterministic=training.deterministic)
        build_network(self.config, self.classes, self.ranks.device)
        setup_seconds = time.perf_counter() - self._begin
        least = setup_seconds + min(_LEAST_TIMED, self._seconds)
        self._end = self._begin + max(self._seconds - _ROUNDING, least)
        sides = _measured_sides(sides_of(self.config, self.train.num_samples))
        # Each resolution is a part, and so are the precisions and the validations.
        with Progress("measuring", len(sides) + 2, "parts", shown=shown) as progress:
            precision, pinned = self._choose_precision(sides[0], self._left() * _PRECISIONS)
            progress.update(1)
            with self._loader(precision) as loaded:
                rows = []
                for timing in self._sides(loaded, precision, sides):
                    rows.append(timing)
                    progress.update(1)
                trainer = self._trainer(loaded, precision, sides[0])
                save_seconds = _save_seconds(trainer, Path(self.config.logging.folder))
                validation, plain = self._validations(precision, trainer, self._left())
                storage = loaded.decoder[0]
            progress.update(1)
        on_gpu = is_gpu(self.ranks.device)
        spread = Z90 * max(timing.spread for _, timing in rows)
        averaged = 2 if self.config.training.ema_half_life else 1
        return Pace(
            machine=_machine_words(),
            basis=self._basis(setup_seconds),
            measured=True,
            gpus=1 if on_gpu else 0,
            sides=tuple(sorted((side for side, _ in rows), key=lambda found: found.side)),
            error=math.hypot(spread, FLOOR_GPU if on_gpu else FLOOR_CPU),
            setup_seconds=setup_seconds,
            first_step_seconds=statistics.mean(timing.first_seconds for _, timing in rows),
            validation_seconds=averaged * validation,
            save_seconds=save_seconds,
            finish_seconds=averaged * plain + save_seconds,
            precision=pinned,
            cores=self.ranks.cores(),
            storage=storage,
            notes=tuple(self.notes),
        )

    def _left(self) -> float:
        """Seconds that are left of the time."""
        return max(0.0, self._end - time.perf_counter())

    def _basis(self, setup_seconds: float) -> str:
        taken = time.perf_counter() - self._begin
        return f"measured here in {taken:.0f} s, {setup_seconds:.0f} s of them the start of Python and torch"

    def _sides(
        self, loaded: Loader, precision: Precision, sides: Sequence[int]
    ) -> Iterator[tuple[SidePace, Timing]]:
        """The resolutions in this order; those after the second are left out where one takes too long."""
        for number, side in enumerate(sides):
            begin, left = time.perf_counter(), (1 - _VALIDATION) * self._left()
            yield self._side(loaded, precision, side, left / (len(sides) - number))
            taken = time.perf_counter() - begin
            if number and taken > (1 - _VALIDATION) * self._left():
                return

    def _choose_precision(self, side: int, seconds: float) -> tuple[Precision, str]:
        """The precision to measure with, and its name where it should be pinned: auto may not be a CPU's fastest."""
        asked = choose_precision(self.config.training.precision, self.ranks.device)
        if self.config.training.precision != "auto" or is_gpu(self.ranks.device) or asked.name == "fp32":
            return asked, ""
        rates = {}
        for name in (asked.name, "fp32"):
            precision = choose_precision(name, self.ranks.device)
            with self._loader(precision) as loaded:
                rates[name] = self._timer.step(self._trainer(loaded, precision, side), seconds / 2).rate
        fastest = max(rates, key=lambda name: rates[name])
        words = ", ".join(f"{name} {rate:,.0f} images/s" for name, rate in rates.items())
        self.notes.append(f"precision {fastest}: the faster one here at {side} px ({words})")
        return choose_precision(fastest, self.ranks.device), fastest if fastest != asked.name else ""

    def _side(
        self, loaded: Loader, precision: Precision, side: int, seconds: float
    ) -> tuple[SidePace, Timing]:
        """One resolution: the loader alone, the step alone, both together."""
        trainer = self._trainer(loaded, precision, side)
        decode, copy = self._timer.loader(trainer, seconds * _LOADER)
        step = self._timer.step(trainer, seconds * _STEP)
        together = self._timer.together(trainer, seconds * _TOGETHER)
        found = SidePace(side=side, step=step.rate, decode=decode, copy=copy, together=together.rate)
        return found, replace(together, first_seconds=step.first_seconds)

    def _validations(self, precision: Precision, trainer: Trainer, seconds: float) -> tuple[float, float]:
        """Seconds of a validation of the whole file under the recipe's conditions, and under the plain ones."""
        with open_loader(
            self.config, self.ranks, precision, self.val, training=False, in_memory=False
        ) as loader:
            validator, model = (
                Validator(self.config, self.ranks, precision, loader),
                trainer.model,
            )
            return (
                self._timer.validation(validator, lambda: validator.accuracy(model), seconds * 2 / 3),
                self._timer.validation(validator, lambda: validator.plain_accuracy(model), seconds / 3),
            )

    def _trainer(self, loaded: Loader, precision: Precision, side: int) -> Trainer:
        """The recipe at one resolution, with a network and an optimizer of its own."""
        resolution = replace(self.config.resolution, schedule="ramp", stages="", min_res=side, max_res=side)
        config = replace(self.config, resolution=resolution)
        model = build_network(config, self.classes, self.ranks.device)
        return Trainer(config, self.ranks, precision, loaded, model, self.classes)

    @contextmanager
    def _loader(self, precision: Precision) -> Iterator[Loader]:
        with open_loader(
            self.config, self.ranks, precision, self.train, training=True, in_memory=False
        ) as loader:
            yield loader


def _as_measured(config: TrainConfig, ranks: Ranks) -> TrainConfig:
    """Without what a measurement does not need: a changed length, a budget, replayed batches, checkpoints elsewhere.

    On a CPU large batches are cut: one takes seconds there, and its speed hardly depends on the batch.
    """
    training = replace(
        config.training, timeline="", resume="", fit_memory=False, epochs=max(2, config.training.epochs)
    )
    resolution = config.resolution
    if not is_gpu(ranks.device) and training.batch_size > _CPU_BATCH:
        training = replace(training, batch_size=_CPU_BATCH // 2, device_batch_size=0)
        resolution = replace(resolution, batch_sizes="")
    validation = config.validation
    if not is_gpu(ranks.device):
        validation = replace(validation, batch_size=min(validation.batch_size, _CPU_BATCH // 2))
    budget = replace(config.budget, adapt=False, stop_at_target=False)
    return replace(
        config,
        training=training,
        resolution=resolution,
        validation=validation,
        budget=budget,
        data=replace(config.data, replay=0),
        checkpoint=replace(config.checkpoint, copy_to=""),
    )


def _measured_sides(sides: Sequence[int]) -> list[int]:
    """At most _MOST_SIDES of them, evenly spread: the largest and the smallest first, then those between."""
    places = np.linspace(0, len(sides) - 1, min(len(sides), _MOST_SIDES)).round().astype(int)
    found = [sides[place] for place in places]
    return [found[-1], *found[:-1]]


def _save_seconds(trainer: Trainer, folder: Path) -> float:
    """Time of writing a checkpoint where the runs are."""
    with tempfile.TemporaryDirectory(dir=folder if folder.is_dir() else None) as place:
        content = {"model": trainer.model.state_dict(), **trainer.step.state_dict()}
        begin = time.perf_counter()
        checkpoint_file.save(Path(place) / "measured.pt", content)
        return time.perf_counter() - begin


def _machine_words() -> str:
    """Such as "NVIDIA H200, 16 cores" or "AMD EPYC, 2 cores"."""
    found = machine()
    cores = f"{found['cores']} core{'s' if found['cores'] > 1 else ''}"
    return f"{found['gpus'][0] if found['gpus'] else found['cpu']}, {cores}"
