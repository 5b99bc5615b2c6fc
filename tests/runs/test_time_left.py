"""When a run will end: foreseen from what is left of it and from how fast it was."""

import pytest

from engine.runs.time_left import Ahead, Outlook, Pace, paces_of, seconds_left, validations_of
from tests.report.runs import epoch_lines, epochs_of


def _ahead(*sides: int, images: int = 1000, validated: bool = False) -> list[Ahead]:
    return [Ahead(images=images, side=side, validated=validated) for side in sides]


def _pace(side: int, seconds: float, images: int = 1000) -> Pace:
    return Pace(side=side, images=images, seconds=seconds)


def test_time_left_is_unknown_before_a_measurement() -> None:
    assert seconds_left(_ahead(128), [], []) is None


def test_time_left_at_the_end_is_zero() -> None:
    assert seconds_left([], [_pace(128, 10)], [3.0]) == 0


def test_unmeasured_resolution_costs_as_square_of_side() -> None:
    assert seconds_left(_ahead(128, 256), [_pace(128, 10)], []) == pytest.approx(10 + 40)


def test_measured_resolution_costs_as_measured() -> None:
    paces = [_pace(128, 10), _pace(128, 10), _pace(256, 13)]
    assert seconds_left(_ahead(256, 256), paces, []) == pytest.approx(26)


@pytest.mark.parametrize("constant", [0.0, 4.0, 10.0])
def test_two_measured_resolutions_give_the_constant_part(constant: float) -> None:
    def seconds(side: int) -> float:
        return constant + 10 * (side / 128) ** 2

    paces = [_pace(side, seconds(side)) for side in (96, 96, 128, 160)]
    assert seconds_left(_ahead(192, 224), paces, []) == pytest.approx(seconds(192) + seconds(224))


def test_run_waiting_for_data_does_not_slow_with_resolution() -> None:
    paces = [_pace(96, 10), _pace(96, 10), _pace(128, 10)]
    assert seconds_left(_ahead(256), paces, []) == pytest.approx(10)


def test_fit_never_gives_negative_cost() -> None:
    faster_when_larger = [_pace(96, 12), _pace(96, 12), _pace(128, 8)]
    assert seconds_left(_ahead(256), faster_when_larger, []) == pytest.approx(10)
    steeper_than_square = [_pace(100, 1), _pace(100, 1), _pace(200, 10)]
    left = seconds_left(_ahead(50), steeper_than_square, [])
    assert left is not None and left > 0


def test_first_epoch_counts_only_without_later_ones() -> None:
    assert seconds_left(_ahead(128), [_pace(128, 30)], []) == pytest.approx(30)
    assert seconds_left(_ahead(128), [_pace(128, 30), _pace(128, 10)], []) == pytest.approx(10)


def test_pace_is_the_mean_of_the_last_three_epochs() -> None:
    paces = [_pace(128, seconds) for seconds in (99, 50, 10, 12, 14)]
    assert seconds_left(_ahead(128), paces, []) == pytest.approx(12)


def test_running_epoch_counts_by_its_images() -> None:
    begun = [*(_pace(128, 10) for _ in range(3)), _pace(128, 4, images=200)]
    left = seconds_left([Ahead(images=800, side=128, validated=False)], begun, [])
    assert left == pytest.approx(800 * (10 + 10 + 4) / 2200)


def test_validations_ahead_cost_as_the_last_ones() -> None:
    ahead = [*_ahead(128, validated=True), *_ahead(128)]
    assert seconds_left(ahead, [_pace(128, 10)], []) == pytest.approx(20)
    assert seconds_left(ahead, [_pace(128, 10)], [99.0, 2.0, 3.0, 4.0]) == pytest.approx(23)


def test_time_left_of_growing_resolution_is_exact() -> None:
    """The logs of tests.report.runs cost as the square of the side; their last epochs are the slow ones."""
    lines = epoch_lines(16, sizes=(128, 256), images_per_second=None)
    ahead = [Ahead(images=line["images"], side=line["resolution"]) for line in lines]
    for done in (2, 6, 12):
        left = seconds_left(
            ahead[done:], paces_of(epochs_of(lines[:done])), validations_of(epochs_of(lines[:done]))
        )
        assert left == pytest.approx(lines[-1]["elapsed_seconds"] - lines[done - 1]["elapsed_seconds"])
    by_mean = lines[1]["elapsed_seconds"] / 2 * 14
    assert lines[-1]["elapsed_seconds"] - lines[1]["elapsed_seconds"] > 1.5 * by_mean


def test_epoch_without_figures_is_left_out() -> None:
    lines = epoch_lines(3)
    lines[0]["train_seconds"] = lines[1]["top1"] = None
    assert len(paces_of(epochs_of(lines))) == 2
    assert len(validations_of(epochs_of(lines))) == 2


def test_outlook_counts_the_rest_of_the_running_epoch() -> None:
    first, second, later = (
        Ahead(images=count, side=side) for count, side in ((100, 16), (200, 32), (50, 64))
    )
    outlook = Outlook(epochs=[first, second], later=[later])
    assert outlook.ends == [100, 300]
    assert outlook.ahead(0, 0) == [first, second, later]
    assert outlook.ahead(30, 0) == [Ahead(images=70, side=16), second, later]
    assert outlook.ahead(150, 1) == [Ahead(images=150, side=32), later]
    assert outlook.ahead(300, 2) == [later]


def test_outlook_keeps_validation_of_unlogged_epoch() -> None:
    outlook = Outlook(epochs=_ahead(16, images=100, validated=True) * 2)
    assert outlook.ahead(100, 0) == [Ahead(images=0, side=16), Ahead(images=100, side=16)]
    assert outlook.ahead(100, 1) == [Ahead(images=100, side=16)]
