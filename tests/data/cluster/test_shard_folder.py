"""The folder of shards, on a disk and on a real server of the S3 protocol."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.data.cluster.shard_folder import Begun, ShardFolder, Tally
from engine.data.cluster.sharded_conversion import convert_in_shards
from engine.errors import UserError
from tests.data.cluster.conftest import Here, in_shards
from tests.data.conversions import converted, names

BEGUN = Begun(shards=3, images=10, options={"output.format": "jpeg"}, versions={"pillow": "1"})


def test_marks_and_tallies_are_read_as_written(tmp_path: Path) -> None:
    folder = ShardFolder(str(tmp_path / "shards"), {})
    assert folder.begun() is None and folder.state()["done"] == set()
    (tmp_path / "shards").mkdir()
    folder.begin(BEGUN)
    tally = Tally(images=3, bytes=5, rejected=1, odd={"cmyk": 1}, rules={"cmyk": "skip"})
    folder.report("2/3", tally)
    folder.fail("2/3", "because")
    folder.finish("1/3", [])
    assert folder.begun() == BEGUN
    assert folder.state() == {"plan": set(), "progress": {"2/3"}, "error": {"2/3"}, "done": {"1/3"}}
    assert folder.tally("2/3") == tally
    assert folder.error("2/3") == "because" and folder.state()["error"] == set()
    assert folder.is_done("1/3") and not folder.is_done("2/3")
    assert (tmp_path / "shards/1-of-3.done").stat().st_size == 0
    folder.forget("1/3")
    assert not folder.is_done("1/3")
    folder.remove()
    assert not (tmp_path / "shards").exists()


def test_removing_leaves_other_files(tmp_path: Path) -> None:
    folder = ShardFolder(str(tmp_path), {})
    folder.finish("1/3", [])
    (tmp_path / "notes.txt").touch()
    folder.remove()
    assert names(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize(
    ("url", "message"),
    [("nosuch://bucket/x", "can't be used: Protocol not known: nosuch"), ("/proc/nothing/x", "cannot")],
)
def test_unusable_folder_is_refused(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ShardFolder(url, {}).finish("1/3", [])


def test_damaged_note_is_refused(tmp_path: Path) -> None:
    (tmp_path / "conversion.json").write_text('{"shards": 3')
    with pytest.raises(UserError, match=r"conversion\.json can't be read .*: remove the folder"):
        ShardFolder(str(tmp_path), {}).begun()


@pytest.fixture(scope="module")
def storage() -> Iterator[dict[str, Any]]:
    """fsspec's options for an empty server with the bucket "data"."""
    moto, s3fs = pytest.importorskip("moto.server"), pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "endpoint_url": f"http://{host}:{port}",
        "key": "user",
        "secret": "secret",
        "client_kwargs": {"region_name": "eu-west-1"},
    }
    # moto's buckets are of the process: another module's tests may have made it.
    s3fs.S3FileSystem(**options).makedirs("data", exist_ok=True)
    yield options
    server.stop()


def test_shards_on_s3_make_the_bytes_of_one_machines(
    pets: Path, tmp_path: Path, here: Here, storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    whole = converted(pets, tmp_path / "whole", order="shuffled")
    at: dict[str, Any] = {"folder": "s3://data/shards", "storage_options": json.dumps(storage)}
    convert_in_shards(in_shards(pets, tmp_path / "out", merge=False, **at))
    folder = ShardFolder("s3://data/shards", storage)
    assert folder.state()["done"] == {"1/3", "2/3", "3/3"}
    assert names(tmp_path / "out") == names(scratch) == []
    convert_in_shards(in_shards(pets, tmp_path / "out", **at))
    assert {split: (tmp_path / f"out/{split}.beton").read_bytes() for split in ("train", "val")} == whole
    assert names(tmp_path / "out") == ["train.beton", "val.beton"]
    assert folder.begun() is None and not any(folder.state().values())


def test_missing_bucket_is_named(
    pets: Path, tmp_path: Path, here: Here, storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.data.cluster.shard_folder._WAITS", ())
    at: dict[str, Any] = {"folder": "s3://nowhere/shards", "storage_options": json.dumps(storage)}
    with pytest.raises(UserError, match=r"run\.folder: s3://nowhere/shards can't be read or written"):
        convert_in_shards(in_shards(pets, tmp_path / "out", **at))
