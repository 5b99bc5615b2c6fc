"""The method: intervals, ratios, and the order of both sides' rounds."""

import dataclasses
import itertools
import statistics

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.harness.method import Comparison, Interval, Round, compare, figures, median_interval


def test_five_values_span_their_interval() -> None:
    assert median_interval([1.3, 0.9, 1.0, 1.1, 1.2]) == Interval(median=1.1, low=0.9, high=1.3)


def test_one_outlier_of_eight_is_dropped_at_each_end() -> None:
    values = [100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -100.0]
    assert median_interval(values) == Interval(median=3.5, low=1.0, high=6.0)


@pytest.mark.parametrize("count", range(5, 13))
def test_interval_is_the_narrowest_with_90_percent_confidence(count: int) -> None:
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


def test_slow_rounds_of_both_sides_keep_the_ratio() -> None:
    ours, peer = [400, 400, 100, 400, 40], [200, 200, 50, 200, 20]
    found = figures(between([at(rate) for rate in ours], [at(rate) for rate in peer]))
    assert found["ratio"] == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert (found["ours_median"], found["peer_median"], found["n"]) == (400, 200, 5)


def test_figures_have_cpu_time_and_the_heaviest_other_load() -> None:
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
        images = batches * 20
        return Round(images=images, seconds=images / self.rate, cpu_seconds=0.5, other_cores=0.0)

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        shift = 1.5 if self.name == "b" else 0.0
        return np.full((count, 3, 2, 2), shift, np.float32), np.arange(count)


def take_turns(longest: int = 1000) -> tuple[Comparison, list[tuple[str, int, int]], list[str]]:
    """Two fakes compared over rounds of 2 seconds, what they were asked for, and what was told."""
    notes: list[tuple[str, int, int]] = []
    words: list[str] = []
    sides = [Fake(name, rate, notes) for name, rate in (("a", 300.0), ("b", 100.0))]
    found = compare(*sides, rounds=5, seconds=2.0, longest=longest, compared_images=7, tell=words.append)
    return found, notes, words


def test_sides_take_turns_after_a_warm_up_with_the_same_batches() -> None:
    found, notes, words = take_turns()
    # 2 seconds at 300 images a second, and at 100, in batches of 20.
    assert notes[:4] == [("a", 0, 4), ("a", 0, 30), ("b", 0, 4), ("b", 0, 10)]
    assert notes[4:] == [(name, number, n) for number in range(1, 6) for name, n in (("a", 30), ("b", 10))]
    assert words == ["3.00"] * 5
    assert found.ratio.median == pytest.approx(3.0)
    assert found.pixel_difference == 1.5
    assert found.labels_equal
    assert (found.ours_settings, found.peer_settings) == ("a", "b")
    assert statistics.median(r.rate for r in found.peer) == pytest.approx(100)


def test_round_has_at_most_the_longest_number_of_batches() -> None:
    _, notes, _ = take_turns(longest=12)
    assert {(name, batches) for name, number, batches in notes if number} == {("a", 12), ("b", 10)}


def test_misjudged_speed_is_measured_again() -> None:
    class Slow(Fake):
        def round(self, number: int, batches: int) -> Round:
            timed = super().round(number, batches)
            # Its first batches cost ten times as much as all others.
            slower = 10.0 if len(self.notes) == 1 else 1.0
            return dataclasses.replace(timed, seconds=timed.seconds * slower)

    notes: list[tuple[str, int, int]] = []
    side = Slow("a", 1000.0, notes)
    compare(
        side,
        Fake("b", 100.0, []),
        rounds=5,
        seconds=2.0,
        longest=1000,
        compared_images=1,
        tell=lambda _: None,
    )
    assert [batches for _, _, batches in notes] == [4, 10, *[100] * 6]
