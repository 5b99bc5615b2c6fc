"""What limited an epoch (download, disk, decode, copy, step), and what to change: a pure function of measured figures.

    (download -->) disk --> decode --> copy --> step         each works ahead of the next, so the slowest is the limit

The step should be the limit; then it hardly waits for data. If it waits for more than _WAITING of the time, the limit
is the stage with the longest busy time. That may still be the step: waiting for the first batch of a short epoch is no
reason to decode faster. On a CPU decoding and the step share the cores, so decoding may slow the step without any
waiting, and its threads may wait for cores that the step uses. There, unless the step waits for more than _MUCH of the
time, the limit is the one of the two that uses more of the process's CPU time.
"""

import dataclasses
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from engine.config.train.train_config import TrainConfig
from engine.data.loading.meters import DataFigures
from engine.devices import is_gpu, where_exact
from engine.runs.log_schema import Limits
from engine.train.ranks.group import Ranks

# Shares of an epoch's time. Less waiting is for the first batch, or noise.
_WAITING = 0.05
_MUCH = 0.25

# The names of loaders that leave crops to the device.
_CUT_THERE = ("-packed", "-resident")

_FACTS = [field.name for field in dataclasses.fields(DataFigures)]


@dataclass(frozen=True, kw_only=True)
class EpochFigures:
    """The figures of one epoch of one process."""

    seconds: float
    """Wall-clock time of training."""
    on_gpu: bool
    cores: int
    """CPU cores that this process may use."""
    workers: int
    """Decoding threads."""
    storage: str
    """The name in benchmark records: jpeg, yuv420-packed, ..."""
    pages: bool
    """Whether the order was page-wise."""
    process_cpu_seconds: float
    """CPU time of all threads of the process."""
    disk_bytes: float
    """Bytes read from disks; 0 if the system does not count them, as on network file systems."""
    replay: bool = False
    """Whether its batches were loaded before the epoch (data.replay)."""
    data: DataFigures

    @property
    def idle(self) -> float:
        """Share of the time in which the step waited for data."""
        return self.data.idle_seconds / self.seconds

    @property
    def decoding_cores(self) -> float:
        """Average number of cores that decoding kept busy."""
        return self.data.cpu_seconds / self.seconds

    @property
    def stages(self) -> dict[str, float]:
        """Wall-clock seconds in which each stage before the step was busy."""
        data = self.data
        threads = data.cpu_seconds + data.queue_seconds + data.read_seconds
        reading = data.read_seconds / threads if threads else 0.0
        made = data.fill_seconds - data.window_seconds - data.download_seconds
        return {
            **({"download": data.download_seconds} if data.download_seconds else {}),
            "disk": data.window_seconds + made * reading,
            "decode": made * (1 - reading),
            "copy": data.copy_seconds,
        }


@dataclass(frozen=True)
class Verdict:
    """The limiting stage (download, disk, decode, copy or step), the figures behind it in words, and what to change."""

    stage: str
    words: str
    advice: str


def verdict(figures: EpochFigures) -> Verdict:
    """What limited the epoch."""
    if figures.replay:
        words = "step: no other stage could limit it, its batches were loaded before the epoch (data.replay)"
        return Verdict("step", words, "compare its images per second with a run without data.replay")
    stage = "step" if figures.idle < _WAITING else _busiest(figures)
    # Not on a GPU: there the process's CPU time is mostly decoding.
    if not figures.on_gpu and stage in ("decode", "step") and figures.idle < _MUCH:
        stage = "decode" if figures.data.cpu_seconds > 0.5 * figures.process_cpu_seconds else "step"
    words, advice = _WORDS[stage](figures)
    return Verdict(stage, f"{stage}: {words}", advice)


def _busiest(figures: EpochFigures) -> str:
    busy = {**figures.stages, "step": figures.seconds - figures.data.idle_seconds}
    return max(busy, key=lambda name: busy[name])


def _download(figures: EpochFigures) -> tuple[str, str]:
    rate = figures.data.download_bytes / figures.seconds
    words = (
        f"waiting for bytes that arrived at {rate / 1e6:,.0f} MB/s took "
        f"{_share(figures.stages['download'], figures)} of the time, {_idle(figures)}"
    )
    return (
        words,
        "nothing in later epochs, which read the copy in data.cache_folder; a faster line for the first one",
    )


def _disk(figures: EpochFigures) -> tuple[str, str]:
    rate = figures.disk_bytes / figures.seconds
    measured = f"at {rate / 1e6:,.0f} MB/s " if rate >= 1e6 else ""
    words = f"reading {measured}took {_share(figures.stages['disk'], figures)} of the time, {_idle(figures)}"
    advice = "a faster disk, or memory for the whole file, which is then read only once"
    if not figures.pages:
        advice += "; data.order=pages if it does not fit"
    if "jpeg" not in figures.storage:
        advice += "; jpeg storage is smaller"
    return words, advice


def _decode(figures: EpochFigures) -> tuple[str, str]:
    data, cores = figures.data, figures.cores
    words = f"{figures.decoding_cores:.1f} of {cores} core{'s' if cores > 1 else ''} busy with it"
    words += f", {_idle(figures)}"
    if not figures.on_gpu:
        words += "; the step shares these cores"
    if data.queue_seconds > data.cpu_seconds:
        waited = data.queue_seconds / (data.queue_seconds + data.cpu_seconds + data.read_seconds)
        words += f"; its threads waited for a core {waited:.0%} of their time"
    return words, " or ".join([*_cheaper_images(figures), _more_cores(figures)])


def _cheaper_images(figures: EpochFigures) -> list[str]:
    if "jpeg" in figures.storage or figures.storage == "proportion":
        return ["use yuv420 storage"]
    return ["data.decoder=packed"] if figures.on_gpu and not figures.storage.endswith(_CUT_THERE) else []


def _more_cores(figures: EpochFigures) -> str:
    """Advice on the number of cores or workers with which the step would never wait."""
    busy = figures.seconds - figures.data.idle_seconds
    missing = max(1, math.ceil(figures.decoding_cores * figures.data.idle_seconds / max(busy, 1e-9)))
    if figures.workers < figures.cores:
        more = min(missing, figures.cores - figures.workers)
        return f"{more} more worker{'s' if more > 1 else ''} (data.num_workers={figures.workers + more})"
    # From very few steps the number is not reliable.
    return (
        f"{missing} more core{'s' if missing > 1 else ''}"
        if missing <= 8 * figures.cores
        else "many more cores"
    )


def _copy(figures: EpochFigures) -> tuple[str, str]:
    share = _share(figures.data.copy_seconds, figures)
    words = f"the link to the device was busy {share} of the time, {_idle(figures)}"
    if figures.storage.endswith(_CUT_THERE):
        return words, "a faster link, or images of a smaller short side"
    return words, "yuv420 storage, of which only the crops are copied"


def _step(figures: EpochFigures) -> tuple[str, str]:
    data = figures.data
    if figures.on_gpu:
        slowest = max(figures.stages.values())
        words = f"it waited for data {figures.idle:.0%} of the time"
        if slowest:
            words += f"; data could come {figures.seconds / slowest:.1f} times as fast"
        return (
            words + _in_bursts(figures),
            "a lower precision, a smaller network or resolution, or a faster device",
        )
    rest = max(0.0, figures.process_cpu_seconds - data.cpu_seconds) / figures.seconds
    words = (
        f"{rest:.1f} of {figures.cores} cores busy with it, {figures.decoding_cores:.1f} with decoding, "
        f"{_idle(figures)}{_in_bursts(figures)}"
    )
    advice = "a smaller network or resolution, or more cores"
    if figures.decoding_cores > 0.1 * figures.cores and _cheaper_images(figures):
        advice = f"{_cheaper_images(figures)[0]}, which leaves more of the cores to the step; {advice}"
    return words, advice


def _in_bursts(figures: EpochFigures) -> str:
    return (
        ""
        if figures.idle < _WAITING
        else "; it waited for the first batches or in short bursts: no other stage was busier"
    )


_WORDS = {"download": _download, "disk": _disk, "decode": _decode, "copy": _copy, "step": _step}


def _share(seconds: float, figures: EpochFigures) -> str:
    return f"{min(1.0, seconds / figures.seconds):.0%}"


def _idle(figures: EpochFigures) -> str:
    return f"step idle {figures.idle:.0%} of the time"


class Figured(Protocol):
    """The part of a loader that is measured."""

    @property
    def decoder(self) -> tuple[str, str]: ...
    def figures(self) -> DataFigures: ...


class EpochMeter:
    """Measures from its construction until `entry` is called after the epoch's last step.

    A resumed epoch is measured from where it was resumed.
    """

    def __init__(self, config: TrainConfig, ranks: Ranks, loader: Figured) -> None:
        self._config, self._ranks, self._loader = config, ranks, loader
        self._before, self._cpu, self._disk = loader.figures(), time.process_time(), _disk_bytes()
        self._started = time.perf_counter()

    def entry(self) -> dict[str, Any]:
        """Fields of EpochLine, none where no batch was left. Every rank has to call this; all get the same."""
        figures = self.figures()
        return limits_entry(figures) if figures.data.asked or figures.replay else {}

    def figures(self) -> EpochFigures:
        """The figures of the rank whose device waited longest: in each step the other ranks wait for it."""
        seconds = time.perf_counter() - self._started
        own = asdict(self._loader.figures() - self._before)
        values = [
            time.process_time() - self._cpu,
            _disk_bytes() - self._disk,
            *(own[name] for name in _FACTS),
        ]
        table = torch.zeros(self._ranks.world, len(values), dtype=torch.float64)
        table[self._ranks.rank] = torch.tensor(values, dtype=torch.float64)
        rows = self._ranks.sum(table.to(where_exact(self._ranks.device))).tolist()
        cpu, disk, *facts = max(rows, key=lambda row: row[2 + _FACTS.index("idle_seconds")])
        return EpochFigures(
            seconds=seconds,
            on_gpu=is_gpu(self._ranks.device),
            cores=self._ranks.cores(),
            workers=self._config.data.num_workers or self._ranks.cores(),
            storage=self._loader.decoder[0],
            pages=self._config.data.order == "pages",
            process_cpu_seconds=cpu,
            disk_bytes=disk,
            replay=bool(self._config.data.replay),
            data=DataFigures(**dict(zip(_FACTS, facts, strict=True))),
        )


def limits_entry(figures: EpochFigures) -> dict[str, Any]:
    """The fields of EpochLine: the stage, and `limits`, the words with the figures behind them."""
    found, data = verdict(figures), figures.data
    return {
        "limited_by": found.stage,
        "limits": Limits(
            words=found.words,
            advice=found.advice,
            idle_seconds=data.idle_seconds,
            step_seconds=figures.seconds - data.idle_seconds,
            decode_cpu_seconds=data.cpu_seconds,
            decode_cpu_ms_per_image=1e3 * data.cpu_seconds / data.images if data.images else None,
            decode_queue_seconds=data.queue_seconds,
            read_seconds=data.read_seconds,
            window_seconds=data.window_seconds,
            download_seconds=data.download_seconds,
            download_bytes=data.download_bytes,
            fill_seconds=data.fill_seconds,
            copy_seconds=data.copy_seconds,
            disk_bytes=figures.disk_bytes,
            record_bytes=data.record_bytes,
            ready=data.ready / data.asked if data.asked else None,
            process_cpu_seconds=figures.process_cpu_seconds,
            workers=figures.workers,
            cores=figures.cores,
        ),
    }


def _disk_bytes(path: Path = Path("/proc/self/io")) -> float:
    """Bytes that this process read from disks."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        # Some systems do not permit reading it.
        return 0.0
    return float(next((line.split()[1] for line in lines if line.startswith("read_bytes:")), 0))
