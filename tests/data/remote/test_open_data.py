"""A .beton at a URL: its tables first, its records as they arrive, the same batches as from a local copy."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.config.train.data import DataConfig
from engine.data.beton.bulk_reader import RecordReader
from engine.data.beton.reader import Beton, open_beton
from engine.data.loading.loader import Batch, Loader
from engine.data.remote.open_data import forget, open_data
from engine.data.sampling.order import cut_pages, page_windows
from engine.errors import UserError
from tests.data.loaders import CPU, LAW, assert_same
from tests.data.remote.conftest import copy_of
from tests.data.remote.range_server import RangeServer

Opened = Callable[..., Beton]


def _batches(beton: Beton, loader: Loader, first: int = 0) -> list[Batch]:
    """An epoch in page-wise order, from a batch on."""
    pages = cut_pages(beton.images["data_ptr"], beton.sizes)
    windows = page_windows(pages, window_bytes=2**21, seed=3, epoch=0)
    assert len(windows.spans) > 3
    ids: list[NDArray[np.int64]] = np.array_split(windows.order, 12)
    loader.load_state_dict({"batches": first})
    return list(loader.batches(ids, 32, LAW, windows))


def test_opening_reads_the_tables_alone(local: Beton, server: RangeServer, opened: Opened) -> None:
    beton = opened()
    records = int((local.images["data_ptr"] + local.sizes).max() - local.images["data_ptr"].min())
    assert sum(stop - start for start, stop in server.asked) < 0.1 * records
    assert server.asked[0] == (0, 65536)
    assert np.array_equal(beton.labels, local.labels) and beton.manifest == local.manifest
    assert beton.mark is None and not beton.path.exists()
    assert opened() is beton and server.heads == 1


def test_complete_copy_is_the_file_and_is_found_again(
    local: Beton, server: RangeServer, data: DataConfig, opened: Opened
) -> None:
    assert copy_of(opened()) == local.path.read_bytes()
    forget(f"{server.url}/train.beton", data)
    asked = len(server.asked)
    again = opened()
    assert again.arrival is None and again.mark and len(server.asked) == asked
    assert sorted(path.name for path in again.path.parent.iterdir()) == ["lock", "train.beton", "url", "use"]


def test_page_order_gives_local_batches_while_it_arrives(
    local: Beton, server: RangeServer, opened: Opened
) -> None:
    beton = opened()
    pages = cut_pages(beton.images["data_ptr"], beton.sizes)
    windows = page_windows(pages, window_bytes=2**21, seed=3, epoch=0)
    last = windows.spans[-1][-1].tolist()
    server.hold(*last)
    with Loader(local, device=CPU) as one, Loader(beton, device=CPU, in_memory=False) as other:
        wanted, found = _batches(local, one), []
        early = 0
        for batch in other.batches(np.array_split(windows.order, 12), 32, LAW, windows):
            assert beton.arrival
            early += not beton.arrival.is_complete
            found.append(batch)
            server.go()
        figures = other.figures()
    assert_same(found, wanted)
    assert early and figures.download_seconds > 0
    assert figures.download_bytes == int((pages.spans[:, 1] - pages.spans[:, 0]).sum())


def test_resumed_epoch_asks_for_its_own_windows_first(
    local: Beton, server: RangeServer, opened: Opened
) -> None:
    beton = opened()
    tables = len(server.asked)
    with Loader(local, device=CPU) as one, Loader(beton, device=CPU, in_memory=False) as other:
        assert_same(_batches(beton, other, first=9), _batches(local, one, first=9))
    pages = cut_pages(beton.images["data_ptr"], beton.sizes)
    windows = page_windows(pages, window_bytes=2**21, seed=3, epoch=0)
    used = np.searchsorted(windows.starts, 90, "right") - 1
    # Requests go out together, and neighbours are one.
    first = {start for start, _ in server.asked[tables : tables + 3]}
    assert int(windows.spans[used][0, 0]) in first


def test_records_of_an_arriving_file_are_read_before_and_after(local: Beton, opened: Opened) -> None:
    beton = opened()
    assert beton.arrival
    pages = cut_pages(beton.images["data_ptr"], beton.sizes)
    beton.arrival.wait(pages.spans[:1])
    sample = int(pages.samples[0])
    with RecordReader(beton) as reader, RecordReader(local) as wanted:
        assert reader.read(sample) == wanted.read(sample)
        copy_of(beton)
        with RecordReader(beton) as later:
            assert reader.read(7) == later.read(7) == wanted.read(7)


def test_other_file_is_refused_after_its_first_bytes(server: RangeServer, data: DataConfig) -> None:
    server.files["/photo.jpg"] = bytes(range(256)) * 10_000
    with pytest.raises(UserError, match=rf"{server.url}/photo.jpg is not a \.beton file"):
        open_data(f"{server.url}/photo.jpg", data)
    assert server.asked == [(0, 65536)]
    assert not list(Path(data.cache_folder).glob("*/*.partial"))


def test_file_in_fsspec_memory_is_downloaded(local: Beton, data: DataConfig) -> None:
    """As from any server that obstore doesn't know."""
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe_file("/bucket/train.beton", local.path.read_bytes())
    url = "memory://bucket/train.beton"
    try:
        assert copy_of(open_data(url, data)) == local.path.read_bytes()
    finally:
        forget(url, data)


def test_url_for_another_command_is_refused() -> None:
    with pytest.raises(UserError, match=r"^s3://bucket/a/train\.beton is a URL.* copy the file"):
        open_beton(Path("s3://bucket/a/train.beton"))
