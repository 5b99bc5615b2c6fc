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

    def __str__(self) -> str:
        cores = f"{self.cores} core{'s' if self.cores > 1 else ''}"
        return (
            f"{self.ours} against {self.peer}, {self.resolution} px, scale {self.min_scale:g}-1, {cores}, "
            f"cache {self.cache}"
        )

    @property
    def storages(self) -> tuple[str, str]:
        """How our side's images are stored, and the peer's."""
        return OURS[self.ours].storage, opponent(self.ours, self.peer).storage

    @property
    def contenders(self) -> tuple[Contender, Contender]:
        """Our side and the peer."""
        return OURS[self.ours], opponent(self.ours, self.peer)

    def open_ours(self, images: Mapping[str, Images], environment: Mapping[str, str] | None = None) -> Worker:
        """Our side in a process of its own; `images` by storage."""
        ours = OURS[self.ours]
        return Worker(self.ours, ours, self._task(images[ours.storage]), environment)

    def open_peer(self, images: Mapping[str, Images], environment: Mapping[str, str] | None = None) -> Worker:
        """The peer in a process of its own; `images` by storage."""
        peer = opponent(self.ours, self.peer)
        return Worker(self.peer, peer, self._task(images[peer.storage]), environment)

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
            "form": form_in_words(self.ours, self.peer, self.form),
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
