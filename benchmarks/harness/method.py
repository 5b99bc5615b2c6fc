"""The method: two sides in turns, ratios of neighbouring rounds, their median and its interval.

In turns, slow changes of the machine (heat, neighbours) affect both sides alike, and a ratio of two neighbouring rounds
cancels most of them. The interval contains the median of the ratios with at least 90% confidence, whatever their
distribution (the sign test's interval). With 5 rounds it spans all ratios; fewer rounds give none.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

LEAST_ROUNDS = 5
LEAST_BATCHES = 4
_CONFIDENCE = 0.9
_WARM_UPS = 3
# A round this near to the wanted length needs no further warm-up.
_NEAR_ENOUGH = 1.3


@dataclass(frozen=True, kw_only=True)
class Round:
    """One timed stretch of steady work."""

    images: int
    seconds: float
    cpu_seconds: float
    """Of all threads of the side's process, and of the processes that it started."""
    other_cores: float
    """Cores that the machine kept busy with something else meanwhile, on average."""

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


class Rounds(Protocol):
    """Anything that works a round at a time."""

    def round(self, number: int, batches: int) -> Round:
        """Time that many batches of the epoch of that number."""
        ...


class Timed(Rounds, Protocol):
    """A side as the comparison sees it: a Worker, or a new process for each round."""

    def settings(self) -> str:
        """How it is set up, in words; asked after the rounds."""
        ...

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Images in levels of 0..255, shape (count, 3, resolution, resolution), and labels."""
        ...


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A median and its bounds."""

    median: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether `value` lies within the bounds."""
        return self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Rounds of both sides; round i of the peer follows round i of ours."""

    ours: list[Round]
    peer: list[Round]
    ours_settings: str
    peer_settings: str
    pixel_difference: float
    """Mean absolute difference between both sides' pixels on the same centre crops, in levels of 0..255."""
    labels_equal: bool

    @property
    def ratio(self) -> Interval:
        """Ours / peer's images per second, from neighbouring rounds."""
        return median_interval([a.rate / b.rate for a, b in zip(self.ours, self.peer, strict=True)])


def median_interval(values: Sequence[float]) -> Interval:
    """The median and its interval by order statistics. Raises ValueError for fewer than 5 values."""
    if len(values) < LEAST_ROUNDS:
        raise ValueError(f"{len(values)} values give no interval; {LEAST_ROUNDS} are needed")
    ordered, dropped = sorted(values), _dropped_each_end(len(values))
    return Interval(
        median=statistics.median(ordered), low=ordered[dropped], high=ordered[len(ordered) - 1 - dropped]
    )


def _dropped_each_end(count: int) -> int:
    """How many of the smallest, and of the largest, of `count` values lie outside the interval."""
    # The median lies below the k-th smallest value with the chance of fewer than k heads in `count` throws.
    tail, dropped = 0.0, -1
    while 1 - 2 * (tail + math.comb(count, dropped + 1) / 2**count) >= _CONFIDENCE:
        dropped += 1
        tail += math.comb(count, dropped) / 2**count
    return dropped


def compare(
    ours: Timed,
    peer: Timed,
    *,
    rounds: int,
    seconds: float,
    longest: int,
    compared_images: int,
    tell: Callable[[str], None],
) -> Comparison:
    """Warm both up, let them take turns for `rounds` rounds of about `seconds`, and compare their pixels.

    A round has at most `longest` batches. `tell` gets the ratio after each pair of rounds.
    """
    # The slower side gets fewer batches rather than more time.
    batches = [warm_up(side, seconds, longest) for side in (ours, peer)]
    ours_rounds, peer_rounds = [], []
    for number in range(1, rounds + 1):
        ours_rounds.append(ours.round(number, batches[0]))
        peer_rounds.append(peer.round(number, batches[1]))
        tell(f"{ours_rounds[-1].rate / peer_rounds[-1].rate:.2f}")
    (ours_pixels, ours_labels), (peer_pixels, peer_labels) = (
        side.centre_crops(compared_images) for side in (ours, peer)
    )
    return Comparison(
        ours=ours_rounds,
        peer=peer_rounds,
        ours_settings=ours.settings(),
        peer_settings=peer.settings(),
        pixel_difference=float(np.abs(ours_pixels - peer_pixels).mean()),
        labels_equal=bool((ours_labels == peer_labels).all()),
    )


def warm_up(side: Rounds, seconds: float, longest: int) -> int:
    """How many batches take about `seconds`; that many ran last, so the rounds read no new samples."""
    batches = min(LEAST_BATCHES, longest)
    for _ in range(_WARM_UPS - 1):
        took = side.round(0, batches).seconds
        wanted = min(longest, max(LEAST_BATCHES, round(batches * seconds / took)))
        if max(batches / wanted, wanted / batches) <= _NEAR_ENOUGH:
            return batches
        batches = wanted
    side.round(0, batches)
    return batches


def paired(ours: Sequence[float], peer: Sequence[float]) -> dict[str, Any]:
    """The part of a record that every stage has; the i-th values of both sides are from one turn."""
    ratio = median_interval([a / b for a, b in zip(ours, peer, strict=True)])
    return {
        "ours_median": statistics.median(ours),
        "peer_median": statistics.median(peer),
        "ratio": {"median": ratio.median, "low": ratio.low, "high": ratio.high},
        "n": len(ours),
        "ours_rounds": [float(f"{value:.7g}") for value in ours],
        "peer_rounds": [float(f"{value:.7g}") for value in peer],
    }


def figures(comparison: Comparison) -> dict[str, Any]:
    """The measured part of a record."""
    return {
        **paired([r.rate for r in comparison.ours], [r.rate for r in comparison.peer]),
        "ours_cpu_ms_per_image": cpu_ms_per_image(comparison.ours),
        "peer_cpu_ms_per_image": cpu_ms_per_image(comparison.peer),
        "other_cores": round(max(r.other_cores for r in comparison.ours + comparison.peer), 3),
        "pixel_difference": round(comparison.pixel_difference, 4),
        "labels_equal": comparison.labels_equal,
        "ours_settings": comparison.ours_settings,
        "peer_settings": comparison.peer_settings,
    }


def failed(reason: str) -> dict[str, Any]:
    """The measured part of a record of a comparison that could not be made."""
    nothing = dict.fromkeys(("ours_median", "peer_median"))
    # Older records have "error" alone.
    reasons = {"error": reason, "failed": reason}
    return {**nothing, "ratio": dict.fromkeys(("median", "low", "high")), "n": 0, **reasons}


def cpu_ms_per_image(rounds: list[Round]) -> float:
    """CPU time of all threads, the rounds' median, in milliseconds."""
    return round(1000 * statistics.median(r.cpu_seconds / r.images for r in rounds), 4)
