"""How fast a machine does each part of a run: the figures that a prediction of its time is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from engine.knowledge.machines import interpolated

Z90 = 1.645
"""Half of a 90% interval in standard deviations, of a normal distribution."""

LEAST_SECONDS, MOST_SECONDS = 5.0, 600.0
"""How long a measurement may be asked to take."""


@dataclass(frozen=True, kw_only=True)
class SidePace:
    """Training at one resolution. Speeds in images per second of the whole machine; None: not known."""

    side: int
    step: float
    """Of the step alone, its data being ready."""
    decode: float | None = None
    """Of reading and decoding alone."""
    copy: float | None = None
    """Of copies to the device alone."""
    disk: float | None = None
    """Of reading from a disk whose speed was given."""
    together: float | None = None
    """Measured with all stages at work, as in a run; it counts before the others."""

    @property
    def stages(self) -> dict[str, float]:
        """The speeds that are known, by the name of the stage, in the order of the data."""
        known = {"disk": self.disk, "decode": self.decode, "copy": self.copy, "step": self.step}
        return {name: rate for name, rate in known.items() if rate is not None}

    @property
    def rate(self) -> float:
        """Images per second of a run: as measured together, else those of the slowest stage."""
        return self.together or min(self.stages.values())

    @property
    def limited_by(self) -> str:
        """The slowest stage."""
        stages = self.stages
        return min(stages, key=lambda name: stages[name])


@dataclass(frozen=True, kw_only=True)
class Pace:
    """A machine's speed for one recipe. Times in seconds."""

    machine: str
    basis: str
    """Where the figures are from, in words."""
    measured: bool
    gpus: int
    """GPUs of the machine; 0: it trains on its CPU."""
    sides: tuple[SidePace, ...]
    """By resolution, the smallest first."""
    error: float
    """Half-width of the 90% interval of a run's time, as a share of it."""
    setup_seconds: float
    """From the start of the process to the first step."""
    first_step_seconds: float = 0.0
    """What the first steps of a resolution take beside their usual time, compiling included; once per resolution."""
    validation_seconds: float
    """One validation under the recipe's conditions; of averaged weights too where the recipe has them."""
    save_seconds: float = 0.0
    """One checkpoint, saved after each epoch."""
    finish_seconds: float = 0.0
    """From the last epoch's validation to the end: the plain validation, weights, report."""
    precision: str = ""
    """The faster one, where it is not what training.precision=auto picks; else empty."""
    cores: int = 0
    """CPU cores of the machine; 0: not known."""
    storage: str = ""
    """How the images that were decoded are stored; empty: not known."""
    notes: tuple[str, ...] = ()

    def at(self, side: int) -> SidePace:
        """The speeds at `side` pixels, interpolated between those that are known."""
        known = {pace.side: pace for pace in self.sides}
        if side in known:
            return known[side]
        # The nearest one says which stages are known.
        near = min(self.sides, key=lambda pace: abs(pace.side - side))
        return SidePace(
            side=side,
            step=self._between("step", side) or near.step,
            decode=self._between("decode", side),
            copy=self._between("copy", side),
            disk=near.disk,
            together=self._between("together", side),
        )

    def _between(self, stage: str, side: int) -> float | None:
        rates: Mapping[int, float | None] = {pace.side: getattr(pace, stage) for pace in self.sides}
        known = {own: rate for own, rate in rates.items() if rate is not None}
        return interpolated(known, side) if known else None

    def on_gpus(self, count: int, error: float) -> "Pace":
        """The same machine with `count` GPUs instead of one: the step and validation scale, the host's work does not.

        `error` is added to the interval: the scaling's own.
        """
        sides = tuple(
            replace(
                pace,
                step=pace.step * count,
                copy=pace.copy * count if pace.copy else None,
                together=None,
            )
            for pace in self.sides
        )
        return replace(
            self,
            machine=f"{self.machine} x {count}",
            basis=f"{self.basis}; {count} GPUs taken as {count} times as fast, as MLPerf's 2, 4 and 8 A100 are",
            gpus=count,
            sides=sides,
            validation_seconds=self.validation_seconds / count,
            error=self.error + error,
        )
