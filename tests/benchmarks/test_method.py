"""The arithmetic of a comparison, and the order in which its two sides work."""

import itertools
import statistics
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.method import Comparison, Interval, compare, figures, median_interval
from benchmarks.worker import Round, Worker


def at(rate: float, cpu_seconds: float = 0.5, other_cores: float = 0.0) -> Round:
    """A round of one second at so many images per second."""
    return Round(images=int(rate), seconds=1.0, cpu_seconds=cpu_seconds, other_cores=other_cores)


def between(ours: list[Round], peer: list[Round]) -> Comparison:
    return Comparison(
        ours=ours,
        peer=peer,
        ours_settings="ours",
        peer_settings="peer",
        pixel_difference=0.25,
        labels_equal=True,
    )


def test_five_values_span_their_interval() -> None:
    assert median_interval([1.3, 0.9, 1.0, 1.1, 1.2]) == Interval(median=1.1, low=0.9, high=1.3)


def test_one_outlier_of_eight_at_each_end_is_dropped() -> None:
    values = [100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -100.0]
    assert median_interval(values) == Interval(median=3.5, low=1.0, high=6.0)


@pytest.mark.parametrize("count", range(5, 13))
def test_the_interval_holds_the_median_nine_times_in_ten_and_is_no_wider_than_needed(count: int) -> None:
    # Whatever the distribution, each value lies above its median (here 0) or below it with equal chance.
    magnitudes = range(1, count + 1)
    held, narrower = 0, 0
    for signs in itertools.product((-1, 1), repeat=count):
        ordered = sorted(sign * size for sign, size in zip(signs, magnitudes, strict=True))
        interval = median_interval([float(value) for value in ordered])
        held += interval.holds(0)
        dropped = ordered.index(int(interval.low)) + 1
        narrower += ordered[dropped] <= 0 <= ordered[-1 - dropped]
    assert held / 2**count >= 0.9
    assert narrower / 2**count < 0.9


def test_four_values_give_no_interval() -> None:
    with pytest.raises(ValueError, match="5 are needed"):
        median_interval([1.0, 1.0, 1.0, 1.0])


def test_a_slow_spell_of_the_machine_does_not_change_the_ratio() -> None:
    ours, peer = [400, 400, 100, 400, 40], [200, 200, 50, 200, 20]
    found = figures(between([at(rate) for rate in ours], [at(rate) for rate in peer]))
    assert found["ratio"] == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert (found["ours_median"], found["peer_median"], found["n"]) == (400, 200, 5)


def test_figures_name_cpu_time_and_the_heaviest_other_load() -> None:
    ours = [at(100, cpu_seconds=0.2) for _ in range(5)]
    peer = [at(100, cpu_seconds=0.4, other_cores=load) for load in (0.1, 0.9, 0.2, 0.0, 0.3)]
    found = figures(between(ours, peer))
    assert (found["ours_cpu_ms_per_image"], found["peer_cpu_ms_per_image"]) == (2.0, 4.0)
    assert found["other_cores"] == 0.9
    assert found["pixel_difference"] == 0.25


class Fake:
    """A worker that notes when it is asked for what, in a list shared with the other side."""

    def __init__(self, name: str, rate: float, notes: list[tuple[str, int, int]]) -> None:
        self.name, self.rate, self.notes = name, rate, notes

    def settings(self) -> str:
        return self.name

    def round(self, number: int, batches: int) -> Round:
        self.notes.append((self.name, number, batches))
        return at(self.rate)

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        shift = 1.5 if self.name == "b" else 0.0
        return np.full((count, 3, 2, 2), shift, np.float32), np.arange(count)


def test_sides_take_turns_with_equal_work_after_a_warm_up() -> None:
    notes: list[tuple[str, int, int]] = []
    words: list[str] = []
    sides = [cast(Worker, Fake(name, rate, notes)) for name, rate in (("a", 300.0), ("b", 100.0))]
    found = compare(*sides, rounds=5, seconds=2.0, batch=20, images=7, tell=words.append)
    warm_up, measured = notes[:2], notes[2:]
    assert [number for _, number, _ in warm_up] == [0, 0]
    # 2 seconds at 300 images a second in batches of 20.
    assert measured == [(name, number, 30) for number in range(1, 6) for name in ("a", "b")]
    assert warm_up[1] == ("b", 0, 30)
    assert words == ["3.00"] * 5
    assert found.ratio.median == 3.0
    assert found.pixel_difference == 1.5
    assert found.labels_equal
    assert statistics.median(r.rate for r in found.peer) == 100
