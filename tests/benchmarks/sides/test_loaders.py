"""Loaders of peers: the same images, each once, with the same labels. Missing ones are skipped with a reason."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.harness.images import exports
from benchmarks.harness.images.prepared import prepare
from benchmarks.harness.processes.worker import Worker
from benchmarks.sides import OURS, PEERS, Side
from benchmarks.sides.task import Task
from engine.data.beton.reader import open_beton

# Mean difference in levels of 0..255: made-up photos are finely grained, and decoders and filters are not the same;
# other images than the same ones differ by some 50.
SAME = 6.0

IMAGES, BATCH, PIXELS, COMPARED = 24, 4, 48, 12


def task(side: Side, form: str = "host", cores: int = 1) -> Task:
    images = prepare(None, side.storage, IMAGES)
    return Task(
        beton=images.beton,
        folder=images.folder,
        num_samples=images.num_samples,
        resolution=PIXELS,
        scale=(0.35, 1.0),
        batch=BATCH,
        cores=cores,
        form=form,
    )


@pytest.fixture(scope="module")
def ours(cache_of_session: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Centre crops and labels of ours, from the JPEG data that the peers get."""
    side = OURS["loader"][exports.SOURCE]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_of_session))
        with Worker("ours", side, task(side)) as worker:
            return worker.centre_crops(COMPARED)


# Stock ffcv takes 8 s to compile at each start: test_loader.py has it.
@pytest.fixture(params=[name for name in PEERS["loader"] if not name.startswith("ffcv")])
def peer(request: pytest.FixtureRequest) -> Iterator[str]:
    name: str = request.param
    reason = PEERS["loader"][name].why_not("host")
    if reason:
        pytest.skip(f"{name}: {reason}")
    yield name


@pytest.mark.slow
def test_peer_delivers_the_same_images_once_and_all_batches(
    peer: str, ours: tuple[NDArray[np.float32], NDArray[np.int64]], cache: Path
) -> None:
    side = PEERS["loader"][peer]
    pixels, labels = ours
    images = prepare(None, side.storage, IMAGES)
    with Worker(peer, side, task(side, cores=2)) as worker:
        theirs, their_labels = worker.centre_crops(COMPARED)
        assert theirs.shape == (COMPARED, 3, PIXELS, PIXELS)
        assert np.abs(theirs - pixels).mean() < SAME
        assert np.array_equal(their_labels, labels)
        # A class for each image.
        assert len(set(open_beton(images.beton).labels.tolist())) == IMAGES
        assert worker.one_pass().tolist() == list(range(IMAGES))
        # More images than there are, and then another resolution.
        timed = worker.round(1, 6)
        assert (timed.images, timed.cpu_seconds > 0) == (6 * BATCH, True)
        assert worker.round(2, 3).images == 3 * BATCH
        asked, got = worker.first_batch(3, PIXELS // 2)
        assert got > asked
        assert "uint8" in worker.settings() or peer == "dali-cpu"


@pytest.mark.slow
def test_peer_reports_where_batches_are_normalised(cache: Path) -> None:
    side = PEERS["loader"]["torchvision-io"]
    with Worker("torchvision-io", side, task(side, form="cpu")) as worker:
        assert worker.round(1, 4).images == 4 * BATCH
        assert "normalised as a batch in the main process" in worker.settings()
