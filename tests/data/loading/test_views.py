"""A loader asked for views: the sample's own label and pixels, a crop of each view's own, for any way and threads."""

import numpy as np
import pytest
import torch

from engine.data.beton.reader import Beton
from engine.data.loading.loader import Loader
from engine.data.sampling.order import repeated, samples_of
from tests.data.loaders import COUNT, CPU, LAW, RESOLUTION, assert_same, load


def test_views_of_a_sample_share_its_label_but_not_the_crop(way: tuple[Beton, str]) -> None:
    beton, decoder = way
    views = repeated(np.arange(COUNT), repeats=3, global_batch=24).reshape(-1, 24)
    batches = load(beton, list(views), decoder=decoder)
    plain = load(beton, [np.arange(COUNT)], decoder=decoder)[0]
    for batch, asked in zip(batches, views, strict=True):
        np.testing.assert_array_equal(batch.ids, asked)
        samples = torch.from_numpy(samples_of(asked))
        assert torch.equal(batch.labels, plain.labels[samples])
        first = torch.from_numpy(asked < COUNT)
        assert torch.equal(batch.images[first], plain.images[samples[first]])
        for row in np.flatnonzero(~first):
            assert not torch.equal(batch.images[row], plain.images[samples[row]])
    for workers in (2, 3):
        assert_same(load(beton, list(views), decoder=decoder, workers=workers), batches)


def test_sample_out_of_range_is_refused_in_every_repeat(beton: Beton) -> None:
    views = np.array([0, COUNT - 1, COUNT]) + (2 << 56)
    with Loader(beton, device=CPU) as loader:
        assert len(list(loader.batches([views[:2]], RESOLUTION, LAW))) == 1
        with pytest.raises(IndexError, match="has samples 0 to 47"):
            list(loader.batches([views], RESOLUTION, LAW))
