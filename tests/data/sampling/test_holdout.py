"""Which samples are held out of training: the share, always the same, gone from every epoch."""

import numpy as np

from engine.data.sampling.order import epoch_permutation, held_out, without


def test_held_out_share_depends_only_on_the_seed() -> None:
    held = held_out(1000, 0.1, seed=3)
    assert len(np.unique(held)) == 100
    assert np.array_equal(held, held_out(1000, 0.1, seed=3))
    assert not np.array_equal(held, held_out(1000, 0.1, seed=4))
    assert len(held_out(1000, 0.0, seed=3)) == 0


def test_epoch_without_held_out_images_keeps_the_order() -> None:
    held, order = held_out(50, 0.2, seed=1), epoch_permutation(50, 1, 5)
    left = without(order, held)
    assert left.tolist() == [sample for sample in order.tolist() if sample not in set(held.tolist())]
    assert len(left) == 40
