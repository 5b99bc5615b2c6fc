"""Files in every format, written once and never damaged; a test that damages one takes its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from engine.data.beton.reader import Beton, Storage
from tests.data.loaders import WAYS, write_photos


@pytest.fixture(autouse=True)
def few_threads() -> Iterator[None]:
    """Torch's threads wait for each other by spinning, for long where other programs use the machine, too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Storage], Beton]:
    """The file of write_photos in this format."""
    made: dict[Storage, Beton] = {}

    def make(storage: Storage) -> Beton:
        if storage not in made:
            made[storage] = write_photos(tmp_path_factory.mktemp(storage), storage)
        return made[storage]

    return make


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest, stored: Callable[[Storage], Beton]) -> tuple[Beton, str]:
    """Each way a batch can go: a file, and data.decoder."""
    storage, decoder = WAYS[request.param]
    return stored(storage), decoder


@pytest.fixture
def beton(stored: Callable[[Storage], Beton]) -> Beton:
    """JPEG and raw mixed, for what does not depend on the format."""
    return stored("proportion")


@pytest.fixture
def own(tmp_path: Path) -> Callable[[Storage], Beton]:
    """A file of the test's own, to be damaged: 16 images."""
    return lambda storage: write_photos(tmp_path, storage, count=16)
