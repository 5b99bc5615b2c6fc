"""The decode stage: every decoder sees the same crops of the same images, and equals do the same work."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.sides import decoders
from benchmarks.stages.decode import main
from benchmarks.sides.decoders.decoder_side import law_of
from benchmarks.harness.images.prepared import prepare
from benchmarks.sides.task import Task
from benchmarks.records.record_table import page
from benchmarks.harness.processes.worker import Worker
from engine.data.crops import CenterCrop, RandomResizedCrop
from engine.errors import UserError
from tests.benchmarks import records

SMALL = ("--images=16", "--resolution=48", "--seconds=0.01", "--batch=4", "--cores=1")
# As in test_peers.py: made-up photos are finely grained, and each shrinks them by a filter of its own.
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


def test_against_itself_it_judges_by_the_interval(cache: Path, tmp_path: Path) -> None:
    options: Sequence[str] = (*SMALL, "--against=self", "--ours=jpeg-kept", "--scale=0.35")
    code = main([*options, f"--json={tmp_path}/self.json"])
    (record,) = records.read(tmp_path / "self.json")
    records.check(record)
    assert (record["stage"], record["ours"], record["peer"]) == ("decode", "jpeg-kept", "self")
    assert (record["pixel_difference"], record["labels_equal"], record["each_image_once"]) == (0, True, True)
    assert record["crop"] == "random, 0.35-1"
    assert len(record["pinned_to"]) == 1
    assert len(record["load"]["average_before"]) == len(record["load"]["average_after"]) == 3
    # Equals do the same work; how fast is up to the machine, and so is the verdict, but not its rule.
    assert code == (0 if record["ratio"]["low"] <= 1 <= record["ratio"]["high"] else 1)
    assert (tmp_path / "self.md").read_text(encoding="utf-8") == page([record])


@pytest.mark.slow
@pytest.mark.parametrize("name", list(decoders.PEERS))
def test_a_peer_decodes_the_same_crops(name: str, cache: Path) -> None:
    peer = decoders.PEERS[name]
    if reason := peer.why_not("host"):
        pytest.skip(f"{name}: {reason}")
    ours = decoders.OURS[peer.storage]
    with Worker("ours", ours, task(peer.storage)) as us, Worker(name, peer, task(peer.storage)) as them:
        (pixels, labels), (theirs, their_labels) = us.centre_crops(8), them.centre_crops(8)
        assert theirs.shape == (8, 3, 48, 48)
        assert np.abs(pixels - theirs).mean() < SAME
        assert np.array_equal(labels, their_labels)
        assert them.one_pass().tolist() == us.one_pass().tolist() == list(range(16))
        assert them.round(1, 3).images == 12


def test_crops_of_peers_are_those_of_ours(cache: Path) -> None:
    """A random crop, pixel by pixel: other crops than the same ones differ by some 50 levels."""
    from benchmarks.sides.decoders.jpeg_libraries import _FromBytes
    from benchmarks.sides.decoders.ours_decoder import _Ours

    given = task("jpeg-kept")
    law, ids = RandomResizedCrop(seed=0, epoch=3, min_scale=0.35), np.arange(8)
    ours = _Ours(given, "decode").finished(ids, law, 48).astype(float)
    theirs = _FromBytes(given, "opencv").finished(ids, law, 48).astype(float)
    assert np.abs(ours - theirs).mean() < SAME
    assert np.abs(ours - theirs[:, :, ::-1]).mean() > 2 * SAME


def test_packed_crops_are_packed_and_compared_as_pixels(cache: Path) -> None:
    with Worker("packed", decoders.OURS["yuv420-packed"], task("yuv420")) as worker:
        pixels, _ = worker.centre_crops(4)
        assert pixels.shape == (4, 3, 48, 48) and pixels.std() > 10
        assert worker.round(1, 3).images == 12


def test_all_of_the_image_is_no_random_crop(cache: Path) -> None:
    assert law_of(task("raw", scale=1.0), 5) == CenterCrop(ratio=1.0)
    assert law_of(task("raw", scale=0.35), 5) == RandomResizedCrop(seed=0, epoch=5, min_scale=0.35)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--against=opencw", "no peer 'opencw' (did you mean 'opencv'?)"),
        ("--ours=yuv", "no decoder of ours 'yuv'"),
        ("--cores=1000", "--cores 1000"),
        ("--seconds=0", "--seconds: invalid number of seconds above 0"),
        ("--scale=0", "--scale"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(option: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        main([option])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
