"""The images of a page of mistakes: chosen from hand-made predictions."""

from typing import Any

import numpy as np
import pytest

from engine.predict.mistakes.selection import MOST_EXAMPLES, MOST_PAIRS, MOST_WORST, choose, class_rows
from engine.train.evaluation.class_statistics import NO_CLASS
from tests.predict.mistakes.made import made


def test_worst_images_are_wrong_and_by_loss() -> None:
    #            right  wrong  wrong  right  wrong
    judged = made([0, 1, 2, 0, 1], [0, 0, 1, 0, 2], losses=[9.0, 1.0, 3.0, 0.1, 2.0])
    assert choose(judged, 3).worst.tolist() == [2, 4, 1]


def test_outputs_that_are_not_finite_come_first() -> None:
    judged = made([0, 1, 2], [1, NO_CLASS, 0], losses=[650.0, np.nan, 1.0])
    chosen = choose(judged, 3)
    assert chosen.worst.tolist() == [1, 0, 2]
    assert {(pair.label, pair.predicted) for pair in chosen.pairs} == {(0, 1), (2, 0)}


def test_pairs_count_both_ways_and_show_worst_examples() -> None:
    labels, predicted = [0] * 6 + [1] * 3, [1, 1, 1, 1, 0, 0, 0, 1, 1]
    judged = made(labels, predicted, losses=[1.0, 4.0, 2.0, 3.0, 0.1, 0.1, 5.0, 0.1, 0.1])
    first, second = choose(judged, 2).pairs
    assert (first.label, first.predicted, first.images, first.of_class, first.reverse) == (0, 1, 4, 6, 1)
    assert first.examples.tolist() == [1, 3, 2][:MOST_EXAMPLES]
    assert (second.label, second.images, second.reverse, second.examples.tolist()) == (1, 1, 4, [6])


def test_unsure_images_are_right_and_the_least_confident() -> None:
    judged = made([0, 1, 0, 1], [0, 1, 1, 1], confidence=[0.9, 0.4, 0.1, 0.6])
    assert choose(judged, 2).unsure.tolist() == [1, 3, 0]


@pytest.mark.parametrize(("predicted", "wrong"), [([0, 1, 2], 0), ([1, 2, 0], 3)])
def test_all_right_or_all_wrong_leaves_a_part_empty(predicted: list[int], wrong: int) -> None:
    chosen = choose(made([0, 1, 2], predicted), 3)
    assert (len(chosen.worst), len(chosen.pairs), len(chosen.unsure)) == (wrong, wrong, 3 - wrong)
    assert sorted(chosen.rows.tolist()) == [0, 1, 2]


def test_number_of_images_is_bounded_with_many_classes() -> None:
    labels = np.repeat(np.arange(1000), 3)
    chosen = choose(made(labels, (labels + 1) % 1000), 1000)
    assert (len(chosen.worst), len(chosen.pairs)) == (MOST_WORST, MOST_PAIRS)
    assert len(chosen.rows) <= MOST_WORST + MOST_PAIRS * MOST_EXAMPLES


def test_class_rows_say_what_a_class_is_taken_for() -> None:
    labels, predicted = [0, 0, 0, 0, 1, 1, 3], [0, 1, 1, 3, 1, 1, NO_CLASS]
    rows: list[Any] = class_rows(made(labels, predicted), 4)
    told = [(row.label, row.images, row.right, row.taken_for, row.times, row.wrongly) for row in rows]
    # class 2 has no image
    assert told == [(3, 1, 0, None, 0, 1), (0, 4, 1, 1, 2, 0), (1, 2, 2, None, 0, 2)]


def test_balanced_accuracy_is_the_mean_over_classes_with_images() -> None:
    judged = made([0, 0, 0, 2], [0, 0, 1, 0])
    assert judged.top1 == pytest.approx(2 / 4)
    assert judged.balanced == pytest.approx((2 / 3 + 0) / 2)
