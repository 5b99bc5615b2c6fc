"""Data sets on a server of the S3 protocol: a real one on loopback, asked over HTTP."""

import json
import multiprocessing
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from engine.data.sources import Source
from tests.data.sources.conftest import CLASSES
from tests.data.sources.forms import (
    contents,
    flatten_val,
    folder_contents,
    open_source,
    refused,
    same_as_folder,
    solution,
    write_devkit,
    write_shards,
    write_tar,
    write_train_tar,
)

moto_server = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")

Put: TypeAlias = Callable[[Path, str], None]
Opened: TypeAlias = Callable[..., Source]


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, Any]]:
    """storage_options for an empty server with the bucket "data"."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "endpoint_url": f"http://{host}:{port}",
        "key": "user",
        "secret": "secret",
        "client_kwargs": {"region_name": "eu-west-1"},
    }
    s3fs.S3FileSystem(**options).mkdir("data")
    yield options
    server.stop()


@pytest.fixture
def put(server: dict[str, Any]) -> Put:
    """Copy a folder into the bucket."""
    return lambda folder, name: s3fs.S3FileSystem(**server).put(str(folder), f"data/{name}", recursive=True)


@pytest.fixture
def opened(server: dict[str, Any]) -> Opened:
    """Open a split below s3://data/."""
    options = json.dumps(server)
    return lambda name, split="train", **more: open_source(
        f"s3://data/{name}", split, storage_options=options, **more
    )


def test_s3_folders_flat_val_and_kaggle_tree_are_read(
    animals: Path, tmp_path: Path, put: Put, opened: Opened
) -> None:
    shutil.copytree(animals / "train", tmp_path / "ILSVRC/Data/CLS-LOC/train")
    (tmp_path / "ILSVRC/Data/CLS-LOC/val").mkdir()
    flat = flatten_val(animals / "val")
    for name, content, _ in flat:
        (tmp_path / "ILSVRC/Data/CLS-LOC/val" / name).write_bytes(content)
    (tmp_path / "LOC_val_solution.csv").write_text(solution(flat), encoding="utf-8")
    put(tmp_path, "kaggle")
    put(animals, "folder")
    for split in ("train", "val"):
        same_as_folder(opened("folder", split), open_source(animals, "train" if split == "train" else "val"))
    for path in ("kaggle", "kaggle/ILSVRC/Data/CLS-LOC"):
        same_as_folder(opened(path), open_source(animals))
        assert contents(opened(path, "val")) == folder_contents(animals / "val")
    csv = str(tmp_path / "LOC_val_solution.csv")
    inside = opened("kaggle/ILSVRC/Data/CLS-LOC", "val", val_labels=csv)
    assert contents(inside) == folder_contents(animals / "val")


def test_s3_official_tars_are_read(animals: Path, tmp_path: Path, put: Put, opened: Opened) -> None:
    flat = flatten_val(animals / "val")
    write_train_tar(tmp_path / "ILSVRC2012_img_train.tar", animals / "train")
    write_tar(tmp_path / "ILSVRC2012_img_val.tar", [(name, content) for name, content, _ in flat])
    write_devkit(tmp_path / "ILSVRC2012_devkit_t12", CLASSES, [kind for _, _, kind in flat])
    put(tmp_path, "official")
    for path in ("official", "official/ILSVRC2012_img_train.tar"):
        same_as_folder(opened(path), open_source(animals))
        assert contents(opened(path, "val")) == folder_contents(animals / "val")


def test_s3_webdataset_and_parquet_are_read(animals: Path, tmp_path: Path, put: Put, opened: Opened) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for split in ("train", "val"):
        write_shards(tmp_path, split, animals / split)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    put(tmp_path, "shards")
    for path in ("shards", "shards/{train,val}-*.tar"):
        train = opened(path)
        assert len(train) == 18
        if path == "shards":
            assert contents(train) == folder_contents(animals / "train")
    assert contents(opened("shards", "val")) == folder_contents(animals / "val")

    (tmp_path / "parquet").mkdir()
    files = sorted((animals / "train").glob("*/*"))
    labels = [CLASSES.index(path.parent.name) for path in files]
    table = pyarrow.table({"image": [path.read_bytes() for path in files], "label": labels})
    parquet.write_table(table, tmp_path / "parquet/train-0.parquet", row_group_size=5)
    (tmp_path / "parquet/classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    put(tmp_path / "parquet", "parquet")
    assert contents(opened("parquet")) == folder_contents(animals / "train")


def test_worker_processes_read_s3_themselves(animals: Path, put: Put, opened: Opened) -> None:
    put(animals, "workers")
    source = opened("workers")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(source.reader.read, source.places, chunksize=9))
    assert found == [source.read(index) for index in range(len(source))]


@pytest.mark.slow
def test_conversion_from_s3_equals_that_of_the_folder(
    animals: Path,
    tmp_path: Path,
    put: Put,
    server: dict[str, Any],
    write_dataset: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    put(animals, "converted")
    options = f"source.storage_options={json.dumps(server)}"
    here = write_dataset(f"source.path={animals}", "output.folder=here", "output.num_workers=1")
    there = write_dataset(
        "source.path=s3://data/converted", options, "output.folder=there", "output.num_workers=2"
    )
    assert (here.returncode, there.returncode) == (0, 0), here.stderr + there.stderr
    for name in ("train.beton", "val.beton"):
        written = (tmp_path / "there" / name).read_bytes()
        assert written == (tmp_path / "here" / name).read_bytes()
        assert b"secret" not in written


def test_missing_or_forbidden_object_is_one_line(server: dict[str, Any], put: Put, animals: Path) -> None:
    options = json.dumps(server)
    for path in ("s3://data/nowhere", "s3://no-such-bucket/x"):
        assert refused(path, storage_options=options).startswith(f"source.path {path} does not exist")
    put(animals / "train", "train-only/train")
    message = refused("s3://data/train-only", "val", storage_options=options)
    assert (
        message == "no folder 'val' under s3://data/train-only; found: train: pass --source.val_folder=NAME"
    )


def test_silent_server_is_one_line(server: dict[str, Any]) -> None:
    # Port 9 (discard) of this machine: nobody listens there.
    nobody = {
        **server,
        "endpoint_url": "http://127.0.0.1:9",
        "config_kwargs": {"retries": {"max_attempts": 1}},
    }
    message = refused("s3://data/x", storage_options=json.dumps(nobody))
    assert message.startswith("cannot read s3://data/x") and "Could not connect to the endpoint" in message
