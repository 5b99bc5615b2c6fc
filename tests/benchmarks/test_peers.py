"""The loader stage's peers: the same images, each once, with the same labels, in every form; and who is left out.

Those that no requirement of the project brings are skipped with a reason where they are not installed.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.harness.images import exports
from benchmarks.harness.images.prepared import Images, prepare
from benchmarks.sides import OURS, PEERS, Contender
from benchmarks.harness.pairing import pairs, present
from benchmarks.sides.task import Task
from benchmarks.harness.processes.worker import Worker
from engine.data.beton import open_beton
from engine.errors import UserError

IMAGES, BATCH, SIDE, COMPARED = 24, 4, 48, 12
# Mean difference in levels of 0..255: made-up photos are finely grained, and decoders and filters are not the same;
# other images than the same ones differ by some 50.
SAME = 6.0

FREE = ["ffcv-jpeg-kept", "torchvision-pil", "torchvision-io", "timm"]


def task(contender: Contender, form: str = "host", cores: int = 1) -> Task:
    images = prepare(None, contender.storage, IMAGES)
    return Task(
        beton=images.beton,
        folder=images.folder,
        num_samples=images.num_samples,
        resolution=SIDE,
        scale=(0.35, 1.0),
        batch=BATCH,
        cores=cores,
        form=form,
    )


@pytest.fixture(scope="module")
def ours(cache_of_session: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Centre crops and labels of ours, from the JPEG data that the peers get."""
    contender = OURS[exports.SOURCE]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_of_session))
        with Worker("ours", contender, task(contender)) as worker:
            return worker.centre_crops(COMPARED)


@pytest.fixture(params=[name for name in PEERS if name != "dali-gpu" and not name.startswith("ffcv")])
def peer(request: pytest.FixtureRequest) -> Iterator[str]:
    name: str = request.param
    reason = PEERS[name].why_not("host")
    if reason:
        pytest.skip(f"{name}: {reason}")
    yield name


@pytest.mark.slow
def test_a_peer_gives_the_same_images_each_once_and_as_many_batches_as_asked_for(
    peer: str, ours: tuple[NDArray[np.float32], NDArray[np.int64]], cache: Path
) -> None:
    contender = PEERS[peer]
    pixels, labels = ours
    images = prepare(None, contender.storage, IMAGES)
    with Worker(peer, contender, task(contender, cores=2)) as worker:
        theirs, their_labels = worker.centre_crops(COMPARED)
        assert theirs.shape == (COMPARED, 3, SIDE, SIDE)
        assert np.abs(theirs - pixels).mean() < SAME
        assert np.array_equal(their_labels, labels)
        # A class for each image.
        assert len(set(open_beton(images.beton).labels.tolist())) == IMAGES
        assert worker.one_pass().tolist() == list(range(IMAGES))
        # More images than there are, and then another resolution.
        timed = worker.round(1, 6)
        assert (timed.images, timed.cpu_seconds > 0) == (6 * BATCH, True)
        assert worker.round(2, 3).images == 3 * BATCH
        asked, got = worker.first_batch(3, SIDE // 2)
        assert got > asked
        assert "uint8" in worker.settings() or peer == "dali-cpu"


@pytest.mark.slow
def test_normalised_batches_cost_a_peer_more_and_it_says_so(cache: Path) -> None:
    contender = PEERS["torchvision-io"]
    with Worker("torchvision-io", contender, task(contender, form="cpu")) as worker:
        assert worker.round(1, 4).images == 4 * BATCH
        assert "normalised as a batch in the main process" in worker.settings()


def test_each_layout_holds_the_very_bytes_of_the_records(cache: Path) -> None:
    source = prepare(None, exports.SOURCE, IMAGES)
    records = [jpeg for jpeg, _ in exports.jpegs(source.beton)]
    assert all(jpeg.startswith(b"\xff\xd8") for jpeg in records)
    for layout in ("files", "webdataset"):
        images = prepare(None, layout, IMAGES)
        assert images.beton == source.beton
        assert exports.EXPORTS[layout].words in images.identity
        written = b"".join(path.read_bytes() for path in images.files)
        assert sum(written.count(jpeg) for jpeg in records) == IMAGES, layout
    assert [path.read_bytes() for path in sorted(files(), key=lambda path: path.name)] == records


def files() -> list[Path]:
    images: Images = prepare(None, "files", IMAGES)
    return images.files


def test_a_layout_is_written_once_and_again_when_its_source_has_changed(cache: Path, tmp_path: Path) -> None:
    source = prepare(None, exports.SOURCE, IMAGES)
    beton = tmp_path / "train.beton"
    beton.write_bytes(source.beton.read_bytes())
    folder = exports.export(beton, "first", "files")
    (folder / "mark").write_text("still here")
    assert exports.export(beton, "first", "files") == folder
    assert (folder / "mark").exists()
    assert exports.export(beton, "second", "files") == folder
    assert not (folder / "mark").exists()
    assert len([path for path in exports.exported_files(folder) if path.suffix == ".jpg"]) == IMAGES


def test_who_is_not_installed_is_left_out_or_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = Contender(
        storage="files", module="nowhere", needs=("json", "no_such_module.io"), package="no-such-package"
    )
    monkeypatch.setitem(PEERS, "gone", gone)
    assert "gone" not in present("host")
    printed = capsys.readouterr().out
    assert "left out: gone: it is not installed: pip install no-such-package" in printed
    assert "left out: dali-gpu: " in printed
    with pytest.raises(
        UserError, match=r"^--against gone: it is not installed: pip install no-such-package$"
    ):
        pairs(["gone"], None)
    everybody = {peer for _, peer in pairs(["all"], None)}
    assert everybody >= set(FREE)
    # These read JPEG data that was encoded anew, or none.
    assert everybody.isdisjoint({"gone", "ffcv-jpeg", "ffcv-raw"})


def test_a_peer_of_other_batches_than_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "gpu-only", Contender(storage="files", module="nowhere", forms=("cuda",)))
    with pytest.raises(UserError, match="--against gpu-only: its batches end as cuda, not as host"):
        pairs(["gpu-only"], None)
    assert pairs(["gpu-only"], ["raw"], "cuda") == [("raw", "gpu-only")]
