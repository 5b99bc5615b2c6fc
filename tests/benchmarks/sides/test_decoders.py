"""Decoders: every registered one decodes the same crops of the same images."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness.images.prepared import prepare
from benchmarks.harness.processes.worker import Worker
from benchmarks.sides import OURS, PEERS
from benchmarks.sides.decoders.decoder_side import law_of
from benchmarks.sides.task import Task
from engine.data.sampling.crops import CenterCrop, RandomResizedCrop

# As in test_loaders.py: made-up photos are finely grained, and each decoder shrinks them by another filter.
SAME = 6.0


def task(storage: str, scale: float = 0.35) -> Task:
    images = prepare(None, storage, 16)
    return Task(
        beton=images.beton,
        folder=None,
        num_samples=images.num_samples,
        resolution=48,
        scale=(scale, 1.0),
        batch=4,
        cores=2,
        form="host",
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PEERS["decode"]))
def test_peer_decodes_the_same_crops(name: str, cache: Path) -> None:
    peer = PEERS["decode"][name]
    if reason := peer.why_not("host"):
        pytest.skip(f"{name}: {reason}")
    ours = OURS["decode"][peer.storage]
    with Worker("ours", ours, task(peer.storage)) as us, Worker(name, peer, task(peer.storage)) as them:
        (pixels, labels), (theirs, their_labels) = us.centre_crops(8), them.centre_crops(8)
        assert theirs.shape == (8, 3, 48, 48)
        assert np.abs(pixels - theirs).mean() < SAME
        assert np.array_equal(labels, their_labels)
        assert them.one_pass().tolist() == us.one_pass().tolist() == list(range(16))
        assert them.round(1, 3).images == 12


def test_peer_crops_are_ours(cache: Path) -> None:
    """A random crop, pixel by pixel: other crops than the same ones differ by some 50 levels."""
    from benchmarks.sides.decoders.jpeg_libraries import FromBytes, opencv
    from benchmarks.sides.decoders.ours_decoder import _Ours

    given = task("jpeg-kept")
    law, ids = RandomResizedCrop(seed=0, epoch=3, min_scale=0.35), np.arange(8)
    ours = _Ours(given, "decode").finished(ids, law, 48).astype(float)
    theirs = FromBytes(given, "opencv", opencv).finished(ids, law, 48).astype(float)
    assert np.abs(ours - theirs).mean() < SAME
    assert np.abs(ours - theirs[:, :, ::-1]).mean() > 2 * SAME


@pytest.mark.slow
def test_packed_crops_are_compared_as_pixels(cache: Path) -> None:
    with Worker("packed", OURS["decode"]["yuv420-packed"], task("yuv420")) as worker:
        pixels, _ = worker.centre_crops(4)
        assert pixels.shape == (4, 3, 48, 48) and pixels.std() > 10
        assert worker.round(1, 3).images == 12


def test_whole_area_is_no_random_crop(cache: Path) -> None:
    assert law_of(task("raw", scale=1.0), 5) == CenterCrop(ratio=1.0)
    assert law_of(task("raw", scale=0.35), 5) == RandomResizedCrop(seed=0, epoch=5, min_scale=0.35)
