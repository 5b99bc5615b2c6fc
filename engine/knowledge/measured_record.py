"""The record of a measured family: the runs of one recipe for several lengths, as measured/NAME.json holds them."""

from dataclasses import asdict, dataclass
from typing import Any

from engine.knowledge.family import Curve, Family, Point


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """One finished run."""

    epochs: float
    seed: int
    top1: float
    """Of the weights that are judged, measured as the recipe says; a share."""
    minutes: float
    """The whole run, validation included."""
    last_resolution: int | None
    """Side of the training images in the last epoch, in pixels."""
    by_epoch: list[list[float]]
    """[epochs done, the same accuracy then]."""
    started: str | None
    differs: dict[str, Any]
    """Options that differ from the recipe file, other than length, seed and places."""
    machine: dict[str, Any]
    versions: dict[str, str | None]
    precision: str | None
    revision: str


@dataclass(frozen=True, kw_only=True)
class MeasuredFamily:
    """All runs of a family, and what they trained on."""

    name: str
    title: str
    network: str
    data: str
    recipe: str
    num_train: int
    num_val: int
    metric: str
    """Key of the log that `top1` is from: ema_top1 where the averaged weights are judged, else top1."""
    measured_as: str
    """Resolution and crop of the validation, in words."""
    files: list[str]
    """The data files: name, images, storage and a hash of the bytes."""
    runs: list[MeasuredRun]

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "MeasuredFamily":
        """The record that `to_json` gave. Raises TypeError for keys that it does not have."""
        return cls(**{**content, "runs": [MeasuredRun(**run) for run in content["runs"]]})

    def family(self) -> Family:
        """The family, with one point and one curve for each run.

        A run that is too short to reach the largest resolution is no point of the law: its last phase is missing, so
        its accuracy is far below the line through the others.
        """
        largest = max(run.last_resolution or 0 for run in self.runs)
        whole = [run for run in self.runs if (run.last_resolution or 0) == largest]
        return Family(
            name=self.name,
            title=self.title,
            network=self.network,
            data=self.data,
            recipe=self.recipe,
            points=tuple(self._point(run) for run in whole),
            source="measured here",
            measured=True,
            num_train=self.num_train,
            num_val=self.num_val,
            note=self.measured_as,
            curves=tuple(map(self._curve, self.runs)),
            unfitted=tuple(
                self._point(run, f"ends at {run.last_resolution} of {largest} px")
                for run in self.runs
                if run not in whole
            ),
        )

    def _point(self, run: MeasuredRun, note: str = "") -> Point:
        cores = run.machine.get("cores")
        return Point(
            epochs=run.epochs,
            top1=run.top1,
            hardware=f"{run.machine.get('cpu')}, {cores} core{'s' if cores != 1 else ''}",
            minutes=run.minutes,
            source=f"engine/knowledge/measured/{self.name}.json",
            note=f"seed {run.seed}{note and '; '}{note}",
        )

    def _curve(self, run: MeasuredRun) -> Curve:
        return Curve(
            epochs=run.epochs,
            runs=1,
            points=tuple((float(epoch), float(top1), None) for epoch, top1 in run.by_epoch),
            source=f"engine/knowledge/measured/{self.name}.json, seed {run.seed}",
        )
