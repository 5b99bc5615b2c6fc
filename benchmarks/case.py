"""One comparison that is to be made, as all stages that compare loaders have it: who, on what, how large."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.images import Images
from benchmarks.peers import OURS, Contender, form_in_words, opponent
from benchmarks.peers.base import Task
from benchmarks.table import Record
from benchmarks.worker import Worker


@dataclass(frozen=True, kw_only=True)
class Case:
    """Both sides with all that they have in common."""

    ours: str
    peer: str
    cores: int
    resolution: int
    min_scale: float
    cache: str
    """What the page cache holds: warm, first or cold (benchmarks.bench_loader)."""
    batch: int
    form: str
    form_in_words: str
    contenders: tuple[Contender, Contender]
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
        ours, peer = self.contenders
        return ours.storage, peer.storage

    def open_ours(self, images: Mapping[str, Images], environment: Mapping[str, str] | None = None) -> Worker:
        """Our side in a process of its own; `images` by storage."""
        contender = self.contenders[0]
        return Worker(self.ours, contender, self._task(images[contender.storage]), environment)

    def open_peer(self, images: Mapping[str, Images], environment: Mapping[str, str] | None = None) -> Worker:
        """The peer in a process of its own; `images` by storage."""
        contender = self.contenders[1]
        return Worker(self.peer, contender, self._task(images[contender.storage]), environment)

    def record(self, stage: str, metric: str, images: Mapping[str, Images], measured: Record) -> Record:
        """One line of the file, in the format that ENGINEERING.md fixes; further keys follow."""
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
        contenders=(OURS[ours], opponent(ours, peer)),
    )
