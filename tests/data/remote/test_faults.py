"""What goes wrong between a server and the cache, and the one line that is said of it."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.config.train.data import DataConfig
from engine.data.beton.reader import Beton
from engine.data.remote import arriving, download
from engine.data.remote.arriving import Arriving
from engine.data.remote.cache import Cache, default_folder
from engine.data.remote.open_data import forget, open_data
from engine.data.remote.remote_store import open_store
from engine.errors import UserError
from engine.system import reserve
from tests.data.loaders import guarded
from tests.data.remote.conftest import copy_of
from tests.data.remote.range_server import RangeServer, serving

Opened = Callable[..., Beton]
Captured = pytest.CaptureFixture[str]


def test_failing_requests_are_tried_again_and_said(
    local: Beton, server: RangeServer, opened: Opened, capsys: Captured
) -> None:
    beton = opened()
    server.codes = [503, 0, 429]
    assert copy_of(beton) == local.path.read_bytes()
    said = [line for line in capsys.readouterr().out.splitlines() if "trying again" in line]
    assert 1 <= len(said) <= 3 and re.search(
        r"(503 Service|429 Too|error|body).*trying again in 0\.5 s", said[0]
    )


def test_record_damaged_on_the_way_is_downloaded_again(
    local: Beton, server: RangeServer, opened: Opened, capsys: Captured
) -> None:
    beton = opened()
    server.damaged = [int(local.images["data_ptr"][5]) + 9]
    assert copy_of(beton) == local.path.read_bytes()
    assert "sample 5 has arrived damaged: downloading it again" in capsys.readouterr().out


def test_record_damaged_on_the_server_is_kept_as_it_is(
    local: Beton, server: RangeServer, opened: Opened, capsys: Captured
) -> None:
    """data.corrupt decides, as with a local file."""
    wrong = bytearray(local.path.read_bytes())
    wrong[int(local.images["data_ptr"][5]) + 9] ^= 255
    server.files["/train.beton"] = bytes(wrong)
    assert copy_of(opened()) == bytes(wrong)
    assert "sample 5 is damaged on the server" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (403, r"its server refuses it \(403 Forbidden\): the credentials are wrong, have expired"),
        (404, r"no such bucket or file: check the URL"),
        (412, r"was changed on its server while it was downloaded: start again"),
        (400, r"its server says 400 Bad Request"),
    ],
)
def test_servers_no_ends_the_download_in_one_line(
    server: RangeServer, opened: Opened, code: int, says: str
) -> None:
    beton = opened()
    assert beton.arrival
    server.codes = [code] * 50
    with pytest.raises(UserError, match=says) as caught:
        guarded(beton.arrival.wait)
    assert len(str(caught.value).splitlines()) == 1 and server.url in str(caught.value)
    assert not beton.path.exists()


def test_missing_file_and_dead_server_are_named(
    server: RangeServer, data: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"/none\.beton: its server has no such bucket or file"):
        open_data(f"{server.url}/none.beton", data)
    monkeypatch.setattr(download, "GIVE_UP_SECONDS", 0.2)
    with pytest.raises(
        UserError, match=r"cannot download http://127\.0\.0\.1:1/.*Connection refused; given up"
    ):
        open_data("http://127.0.0.1:1/train.beton", data)


def test_changed_file_is_another_entry_and_the_old_one_goes(
    local: Beton, server: RangeServer, data: DataConfig, opened: Opened
) -> None:
    old = opened()
    copy_of(old)
    forget(f"{server.url}/train.beton", data)
    server.tag = '"second"'
    new = opened()
    assert new.path.parent != old.path.parent and not old.path.parent.exists()
    assert copy_of(new) == local.path.read_bytes()


class _Two(NamedTuple):
    first: Arriving
    second: Arriving


@pytest.fixture
def two(server: RangeServer, data: DataConfig) -> Iterator[_Two]:
    """The same file as two processes see it."""
    url = f"{server.url}/train.beton"

    def one() -> Arriving:
        store = open_store(url, {})
        found = store.look()
        arriving = Arriving(store, found, Cache(Path(data.cache_folder), 0).entry(url, found))
        arriving.open()
        return arriving

    both = _Two(one(), one())
    yield both
    server.go()
    for opened_twice in both:
        opened_twice.close()


def test_second_process_waits_for_the_first_ones_download(server: RangeServer, two: _Two) -> None:
    tables = len(server.asked)
    two.first.start()
    two.second.wait()
    assert two.first.is_complete
    asked = sorted(server.asked[tables:])
    assert all(stop <= start for (_, stop), (start, _) in pairwise(asked)), "asked twice"


def test_second_process_takes_over_where_the_first_ends(local: Beton, server: RangeServer, two: _Two) -> None:
    server.hold(5_000_000, 5_000_001)
    two.first.start()
    _until(lambda: two.first.bytes_arrived > 0)
    two.first.close()
    server.go()
    two.second.wait()
    (path,) = Path(two.second._entry.folder).glob("train.beton")
    assert path.read_bytes() == local.path.read_bytes()


def test_error_of_the_downloader_reaches_all_who_wait(server: RangeServer, two: _Two) -> None:
    server.hold(0, 10**9)
    two.first.start()
    _until(lambda: server.held > 0)
    server.codes = [403] * 50
    threading.Timer(0.3, server.go).start()
    with pytest.raises(UserError, match="its server refuses it"):
        guarded(two.second.wait)
    with pytest.raises(UserError, match="its server refuses it"):
        guarded(two.first.wait)


def test_failure_while_nobody_waits_is_forgotten_when_needed(
    local: Beton, server: RangeServer, opened: Opened
) -> None:
    beton = opened()
    server.codes = [403] * 20
    assert isinstance(beton.arrival, Arriving)
    beton.arrival.start()
    _until(lambda: beton.arrival._failure is not None)  # type: ignore[union-attr]
    server.codes = []
    assert copy_of(beton) == local.path.read_bytes()


def _until(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    pytest.fail("it never came")


def test_oldest_file_that_nobody_uses_makes_room(
    server: RangeServer, data: DataConfig, opened: Opened, local: Beton
) -> None:
    small = DataConfig(cache_folder=data.cache_folder, cache_gb=1.5 * local.file_size / 1e9)
    first = opened()
    copy_of(first)
    with pytest.raises(
        UserError, match=r"data\.cache_gb=0\.01\d*: .*other\.beton takes 8\.1 MB, and others in use"
    ):
        opened("other", small)
    assert first.path.exists()
    forget(f"{server.url}/train.beton", data)
    assert copy_of(opened("other", small)) == local.path.read_bytes()
    assert not first.path.parent.exists()


def test_disk_without_room_is_refused_before_the_download(
    server: RangeServer, data: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=10**6))
    with pytest.raises(
        UserError, match=r"data\.cache_folder: .* takes 8\.\d MB more, and .* has room for 1\.0 MB"
    ):
        open_data(f"{server.url}/train.beton", data)
    assert not list(Path(data.cache_folder).glob("*/*.partial"))


def test_disk_space_of_the_whole_file_is_taken_before_its_records(opened: Opened) -> None:
    beton = opened()
    (partial,) = beton.path.parent.glob("*.partial")
    with open(partial, "rb+") as file:
        if not reserve(file.fileno(), 1):
            pytest.skip("this file system can't reserve space")
    assert partial.stat().st_size == beton.file_size <= partial.stat().st_blocks * 512


def test_disk_that_has_less_than_it_says_names_the_options(
    opened: Opened, data: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arriving, "reserve", full)
    with pytest.raises(UserError, match=r"^data\.cache_folder: the disk of .*cache is full.*data\.cache_gb"):
        opened()
    assert not list(Path(data.cache_folder).glob("*/*.partial"))


@pytest.mark.parametrize("amid", ["tables", "records"])
def test_disk_that_fills_up_names_the_options(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, amid: str
) -> None:
    def full(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    beton = opened() if amid == "records" else None
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match=r"^data\.cache_folder: the disk of .*cache is full.*data\.cache_gb"):
        if beton is None:
            opened()
        else:
            assert beton.arrival
            guarded(beton.arrival.wait)


def test_cache_folder_that_is_a_file_is_refused(server: RangeServer, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(UserError, match=r"cannot use the data\.cache_folder .*taken"):
        open_data(f"{server.url}/train.beton", DataConfig(cache_folder=str(tmp_path / "taken")))


def test_user_without_home_keeps_files_in_the_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert default_folder() == Path("/elsewhere/imagenet-engine/data")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert re.fullmatch(r".*/imagenet-engine-\d+/data", str(default_folder()))


_DOWNLOAD = """
import sys
from engine.config.train.data import DataConfig
from engine.data.remote.open_data import open_data
beton = open_data(sys.argv[1], DataConfig(cache_folder=sys.argv[2]))
beton.arrival.wait()
"""


@pytest.mark.slow
def test_killed_downloads_go_on_with_what_has_arrived(local: Beton, repository: Path, tmp_path: Path) -> None:
    """kill -9 at any moment; never a half file under the final name, and nothing is downloaded twice but the rest of
    what was on its way."""
    content = local.path.read_bytes()
    with serving(train=content) as server:
        command: list[Any] = [
            sys.executable,
            "-c",
            _DOWNLOAD,
            f"{server.url}/train.beton",
            tmp_path / "cache",
        ]
        # In the header, in the tables at the end, and amid the records.
        for byte in (0, len(content) - 1, 5_000_000):
            server.hold(byte, byte + 1)
            with subprocess.Popen(command, cwd=repository) as process:
                try:
                    _until(lambda: server.held > 0)
                    time.sleep(0.7)
                finally:
                    process.send_signal(signal.SIGKILL)
            assert not list((tmp_path / "cache").glob("*/train.beton"))
        server.go()
        asked = len(server.asked)
        subprocess.run(command, cwd=repository, check=True, timeout=60)
        assert sum(stop - start for start, stop in server.asked[asked:]) < 0.9 * len(content)
        (path,) = (tmp_path / "cache").glob("*/train.beton")
        assert path.read_bytes() == content
