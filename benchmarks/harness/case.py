"""One comparison of two loaders or decoders: who, on what images, how large, on how many cores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.harness.images.prepared import Images
from benchmarks.harness.pairing import form_in_words
from benchmarks.harness.processes.worker import Worker
from benchmarks.records.layouts import Record
from benchmarks.sides import Side, opponent, our_side
from benchmarks.sides.task import Task


@dataclass(frozen=True, kw_only=True)
class Case:
    """Both sides, and all that they have in common."""

    ours: str
    peer: str
    cores: int
    resolution: int
    min_scale: float
    cache: str
    """What the page cache holds: warm, first or cold (benchmarks.stages.loader)."""
    batch: int
    form: str
    form_in_words: str
    sides: tuple[Side, Side]
    """Our side and the peer."""

    def __str__(self) -> str:
        cores = f"{self.cores} core{'s' if self.cores > 1 else ''}"
        return (
            f"{self.ours} against {self.peer}, {self.resolution} px, scale {self.min_scale:g}-1, {cores}, "
            f"cache {self.cache}"
        )

    @property
    def storages(self) -> tuple[str, str]:
        """How our side's images are stored, and the peer's."""
        ours, peer = self.sides
        return ours.storage, peer.storage

    def open_ours(self, images: Mapping[str, Images], environment: Mapping[str, str] | None = None) -> Worker:
        """Our side in a new process; `images` by storage."""
        side = self.sides[0]
        return Worker(self.ours, side, self._task(images[side.storage]), environment)

    def open_peer(self, images: Mapping[str, Images], environment: Mapping[str, str] | None = None) -> Worker:
        """The peer in a new process; `images` by storage."""
        side = self.sides[1]
        return Worker(self.peer, side, self._task(images[side.storage]), environment)

    def record(self, stage: str, metric: str, images: Mapping[str, Images], measured: Record) -> Record:
        """One line of the file, with the keys that every record has, and more."""
        of_ours, of_peer = (images[storage].identity for storage in self.storages)
        different: Record = {} if of_ours == of_peer else {"peer_data": of_peer}
        facts: dict[str, Any] = {
            "stage": stage,
            "ours": self.ours,
            "peer": self.peer,
            "resolution": self.resolution,
            "scale": [self.min_scale, 1.0],
            "cores": self.cores,
            "cache": self.cache,
            "metric": metric,
        }
        form = {
            "form": self.form_in_words,
            "device": "cuda" if self.form == "cuda" else "cpu",
            "batch": self.batch,
        }
        return {**facts, **measured, "data": of_ours, **different, **form}

    def _task(self, images: Images) -> Task:
        return Task(
            beton=images.beton,
            folder=images.folder,
            num_samples=images.num_samples,
            resolution=self.resolution,
            scale=(self.min_scale, 1.0),
            batch=self.batch,
            cores=self.cores,
            form=self.form,
        )


def loader_case(
    *, ours: str, peer: str, cores: int, resolution: int, min_scale: float, cache: str, batch: int, form: str
) -> Case:
    """The comparison of one of our loaders with a peer, by name."""
    return Case(
        ours=ours,
        peer=peer,
        cores=cores,
        resolution=resolution,
        min_scale=min_scale,
        cache=cache,
        batch=batch,
        form=form,
        form_in_words=form_in_words(ours, peer, form),
        sides=(our_side("loader", ours), opponent("loader", ours, peer)),
    )
