"""A .beton on a real server of the S3 protocol, by obstore and by s3fs, behind a line that breaks."""

import builtins
import json
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.harness.slow_line import slow_line
from engine.config.train.data import DataConfig
from engine.data.beton.reader import Beton
from engine.data.remote import remote_store
from engine.data.remote.open_data import forget, open_data
from engine.errors import UserError
from tests.data.remote.conftest import copy_of

moto_server = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")

URL = "s3://downloads/a folder/train.beton"


@pytest.fixture(scope="module")
def bucket(local: Beton) -> Iterator[dict[str, Any]]:
    """fsspec's options for a server with the file in the bucket "downloads"."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"endpoint_url": f"http://{host}:{port}", "key": "user", "secret": "secret"}
    files = s3fs.S3FileSystem(**options, client_kwargs={"region_name": "eu-west-1"})
    files.mkdir("downloads")
    files.put_file(str(local.path), URL.removeprefix("s3://"))
    yield options
    server.stop()


@pytest.mark.parametrize("by", ["obstore", "s3fs"])
def test_s3_file_is_downloaded_with_options_of_fsspec(
    local: Beton, bucket: dict[str, Any], data: DataConfig, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if by == "s3fs":
        real = builtins.__import__

        def without(name: str, *rest: Any) -> Any:
            if name.startswith("obstore"):
                raise ImportError(name)
            return real(name, *rest)

        monkeypatch.setattr(builtins, "__import__", without)
    else:
        pytest.importorskip("obstore")
    config = DataConfig(train_dataset=URL, cache_folder=data.cache_folder, storage_options=json.dumps(bucket))
    try:
        assert copy_of(open_data(URL, config)) == local.path.read_bytes()
    finally:
        forget(URL, config)


def test_credentials_of_the_environment_count(
    local: Beton, bucket: dict[str, Any], data: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore")
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket["endpoint_url"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    try:
        assert open_data(URL, data).num_samples == local.num_samples
    finally:
        forget(URL, data)


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        (
            "s3://downloads/none.beton",
            {},
            r"cannot read s3://downloads/none\.beton: its server has no such bucket or file",
        ),
        (
            "s3://none/train.beton",
            {},
            r"cannot read s3://none/train\.beton: its server has no such bucket or file",
        ),
        ("s3://downloads", {}, r"s3://downloads names no file"),
        (
            "s3://downloads/x",
            {"nonsense": 1},
            r"data\.storage_options: s3://downloads/x can't be used: .*nonsense",
        ),
    ],
)
def test_wrong_s3_url_is_one_line(
    bucket: dict[str, Any], data: DataConfig, url: str, options: dict[str, Any], says: str
) -> None:
    pytest.importorskip("obstore")
    config = DataConfig(
        train_dataset=url, cache_folder=data.cache_folder, storage_options=json.dumps(bucket | options)
    )
    with pytest.raises(UserError, match=says) as caught:
        open_data(url, config)
    assert len(str(caught.value).splitlines()) == 1


def test_cut_connections_are_no_end(
    local: Beton, bucket: dict[str, Any], data: DataConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("obstore")
    server = bucket["endpoint_url"].removeprefix("http://")
    with slow_line(server, 20, 20) as line:
        there = bucket | {"endpoint_url": f"http://127.0.0.1:{line.port}"}
        config = DataConfig(
            train_dataset=URL, cache_folder=data.cache_folder, storage_options=json.dumps(there)
        )
        try:
            beton = open_data(URL, config)
            line.say("stall")
            assert beton.arrival
            beton.arrival.start()
            line.say("cut")
            line.say("go")
            assert copy_of(beton) == local.path.read_bytes()
        finally:
            forget(URL, config)


def test_url_is_shown_without_its_secrets() -> None:
    assert remote_store.shown("https://user:word@host/a.beton?X-Amz-Signature=1") == "https://host/a.beton"
    assert remote_store.shown("s3://bucket/a@b.beton") == "s3://bucket/a@b.beton"
