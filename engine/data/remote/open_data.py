"""Opening a data file of a run, wherever it is: on this machine, or at a URL."""

import threading
from pathlib import Path

from engine.config.train.data import DataConfig
from engine.data.beton.reader import Beton, open_beton
from engine.data.remote.arriving import Arriving
from engine.data.remote.cache import Cache, Entry, default_folder
from engine.data.remote.download import Patience
from engine.data.remote.remote_store import open_store, shown
from engine.errors import UserError

_LOCAL = "file://"

# What this process has opened, by URL and folder: a run goes on with what it began with, and its files are in use.
_opened: dict[tuple[str, Path], tuple[Beton, Entry]] = {}
_opening = threading.Lock()


def open_data(place: str, data: DataConfig, *, shows: bool = True) -> Beton:
    """The file at `place`, a path or URL, opened and checked; one at a URL is downloaded later (Beton.arrival).

    A URL is asked for once in a process. `shows` is whether to show the progress of the download.
    Raises UserError: one line on what is wrong with the file, its server or the cache, and what to do.
    """
    if "://" not in place or place.startswith(_LOCAL):
        return open_beton(Path(place.removeprefix(_LOCAL)))
    folder = Path(data.cache_folder).absolute() if data.cache_folder else default_folder()
    with _opening:
        key = place, folder
        if key not in _opened:
            _opened[key] = _open(place, data, Cache(folder, data.cache_gb))
        beton = _opened[key][0]
        if isinstance(beton.arrival, Arriving):
            beton.arrival.shown = shows
        return beton


def forget(place: str, data: DataConfig) -> None:
    """End the use of what was opened there, and its download; the next `open_data` asks the server again."""
    with _opening:
        for key in [one for one in _opened if one[0] == place]:
            beton, entry = _opened.pop(key)
            if isinstance(beton.arrival, Arriving):
                beton.arrival.close()
            entry.close()


def _open(url: str, data: DataConfig, cache: Cache) -> tuple[Beton, Entry]:
    store = open_store(url, data.storage())
    found = Patience(store, lambda line: print(line, flush=True)).ask(store.look)
    assert found is not None
    if not found.size:
        raise UserError(f"{shown(url)} is empty: give the URL of a .beton file")
    entry = cache.entry(url, found)
    before = [beton.arrival for beton, _ in _opened.values() if isinstance(beton.arrival, Arriving)]
    try:
        return Arriving(store, found, entry, before).open(), entry
    except BaseException:
        entry.close()
        raise
