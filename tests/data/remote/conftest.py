"""A file on a server, and a folder to download it to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.config.train.data import DataConfig
from engine.data.beton.reader import Beton
from engine.data.remote.open_data import forget, open_data
from tests.data.made import make
from tests.data.remote.range_server import RangeServer, serving

COUNT, SIDE = 120, 128


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    """120 images of 48 kB in 6 MB: a few pages of page-wise order."""
    folder = tmp_path_factory.mktemp("local")
    return make(folder / "train.beton", [number % 3 for number in range(COUNT)], side=SIDE)


@pytest.fixture
def server(local: Beton) -> Iterator[RangeServer]:
    with serving(train=local.path.read_bytes(), other=local.path.read_bytes()) as server:
        yield server


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    return DataConfig(cache_folder=str(tmp_path / "cache"))


@pytest.fixture
def opened(server: RangeServer, data: DataConfig) -> Iterator[Callable[..., Beton]]:
    """Open NAME.beton of the server; all is forgotten at the end."""
    urls = []

    def open_one(name: str = "train", config: DataConfig = data) -> Beton:
        urls.append((f"{server.url}/{name}.beton", config))
        return open_data(*urls[-1])

    yield open_one
    server.go()
    for url, config in urls:
        forget(url, config)


def copy_of(beton: Beton) -> bytes:
    """The whole file, under its final name."""
    assert beton.arrival is not None
    beton.arrival.wait()
    return beton.path.read_bytes()
