"""One side of the stage `remote`: all records of a data set on a server, twice, each in about a batch's pieces.

    python benchmarks/sides/remote_streams.py SIDE JSON        all that does not change from round to round
    python benchmarks/sides/remote_streams.py write JSON       the peers' layouts of a data set

A script that needs nothing of this project but for ours and local, so that peers may live in another environment. For
each line of JSON on stdin, the rest of the task, it answers with one: seconds and bytes of each epoch, from opening the
URL on, after all imports and with an empty cache.

In favour of the peers: their records are never decoded, and only their sizes come back from their workers, while ours
checks each record's checksum and packs a random crop of each; each keeps what it downloads in a cache on the disk.
"""

import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_CHUNK = 64_000_000
_RANGE = 4 * 2**20


# Each gives a function that does an epoch and returns its bytes, or for -1 ends, and words on its settings.
def _bare(task: dict[str, Any]) -> tuple[Callable[[int], int], str]:
    """The line itself: 16 processes of curl, each a part of the file, to nowhere."""
    size, parts = task["size"], 16

    def epoch(number: int) -> int:
        if number < 0:
            return 0
        bounds = [size * part // parts for part in range(parts + 1)]

        def get(part: int) -> None:
            span = f"{bounds[part]}-{bounds[part + 1] - 1}"
            command = ["curl", "-sf", "-o", "/dev/null", "-r", span, f"{task['http']}/{task['name']}"]
            subprocess.run(command, check=True)

        with ThreadPoolExecutor(parts) as pool:
            list(pool.map(get, range(parts)))
        return size

    return epoch, f"{parts} processes of curl, a range each"


def _ours(task: dict[str, Any], *, local: bool = False) -> tuple[Callable[[int], int], str]:
    import numpy as np
    import torch

    from engine.config.train.data import DataConfig
    from engine.data.loading.loader import Loader
    from engine.data.remote.open_data import forget, open_data
    from engine.data.sampling.crops import RandomResizedCrop
    from engine.data.sampling.order import cut_pages, page_windows

    place = task["local"] if local else f"s3://{task['bucket']}/{task['name']}"
    options = json.dumps({"endpoint_url": task["http"].rpartition("/")[0], "key": "user", "secret": "secret"})
    config = DataConfig(
        train_dataset=place, cache_folder=task["cache"], storage_options="" if local else options
    )
    held: list[Any] = []

    def epoch(number: int) -> int:
        if not held:
            beton = open_data(place, config)
            loader = Loader(
                beton, device=torch.device("cpu"), workers=task["cores"], in_memory=False, decoder="packed"
            )
            held.extend([beton, loader, cut_pages(beton.images["data_ptr"], beton.sizes)])
        beton, loader, pages = held
        if number < 0:
            loader.close()
            forget(place, config)
            return 0
        windows = page_windows(pages, window_bytes=task["window"], seed=0, epoch=number)
        ids = [windows.order[at : at + task["batch"]] for at in range(0, beton.num_samples, task["batch"])]
        crop = RandomResizedCrop(seed=0, epoch=number, min_scale=0.35)
        done = 0
        for batch in loader.host_batches(ids, 224, crop, windows):
            done += int(beton.sizes[batch.ids].sum())
        assert np.concatenate(ids).shape == (beton.num_samples,)
        return done

    what = "the local file" if local else "the URL"
    words = f"{what}, data.order=pages, windows of {task['window'] // 2**20} MiB, packed crops, {task['cores']} threads"
    return epoch, words


def _litdata(task: dict[str, Any]) -> tuple[Callable[[int], int], str]:
    import torch

    litdata: Any = importlib.import_module("litdata")

    torch.set_num_threads(1)
    # It has no option for a server without TLS.
    importlib.import_module("litdata.streaming.downloader")._OBSTORE_CLIENT_OPTIONS["allow_http"] = True
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    held: list[Any] = []

    def epoch(number: int) -> int:
        if not held:
            stream = litdata.StreamingDataset(
                f"s3://{task['bucket']}/litdata",
                cache_dir=task["cache"],
                shuffle=True,
                storage_options={"endpoint_url": task["http"].rpartition("/")[0]},
                transform=_length,
                max_pre_download=8,
            )
            held.append(
                litdata.StreamingDataLoader(
                    stream, batch_size=task["batch"], num_workers=task["workers"], persistent_workers=True
                )
            )
        if number < 0:
            # Its workers end with it.
            held.clear()
            return 0
        return sum(int(sum(batch)) for batch in held[0])

    return epoch, f"litdata {litdata.__version__}, chunks of 64 MB, {task['workers']} workers, 8 chunks ahead"


def _length(sample: Any) -> int:
    return len(sample["image"])


def _webdataset(task: dict[str, Any]) -> tuple[Callable[[int], int], str]:
    import torch
    from torch.utils.data import DataLoader

    webdataset: Any = importlib.import_module("webdataset")

    torch.set_num_threads(1)
    urls = [f"{task['http']}/webdataset/{name}" for name in task["shards"]]
    held: list[Any] = []

    def epoch(number: int) -> int:
        if not held:
            stream = (
                webdataset.WebDataset(urls, shardshuffle=len(urls), cache_dir=task["cache"])
                .shuffle(1000)
                .to_tuple("bin")
                .map_tuple(len)
                .batched(task["batch"], partial=True)
            )
            held.append(
                DataLoader(stream, batch_size=None, num_workers=task["workers"], persistent_workers=True)
            )
        if number < 0:
            held.clear()
            return 0
        return sum(int(sum(sizes)) for (sizes,) in held[0])

    return (
        epoch,
        f"webdataset {webdataset.__version__}, {len(urls)} shards, cache_dir, {task['workers']} workers",
    )


SIDES: dict[str, Callable[[dict[str, Any]], tuple[Callable[[int], int], str]]] = {
    "ours": _ours,
    "local": lambda task: _ours(task, local=True),
    "bare": _bare,
    "litdata": _litdata,
    "webdataset": _webdataset,
}


def _write(task: dict[str, Any]) -> None:
    """Chunks of litdata's and tar shards of the records in `records`, raw files of (offset, size) in a .beton."""
    folder, spans = Path(task["folder"]), json.loads(Path(task["spans"]).read_text())

    def records() -> Iterable[bytes]:
        with open(task["local"], "rb") as file:
            for start, size in spans:
                file.seek(start)
                yield file.read(size)

    if "webdataset" in task["layouts"]:
        (folder / "webdataset").mkdir()
        for number, shard in enumerate(_in_chunks(records())):
            with tarfile.open(folder / "webdataset" / f"shard-{number:05d}.tar", "w") as tar:
                for sample, record in enumerate(shard):
                    member = tarfile.TarInfo(f"{number:05d}{sample:06d}.bin")
                    member.size = len(record)
                    tar.addfile(member, io.BytesIO(record))
    if "litdata" in task["layouts"]:
        writer = importlib.import_module("litdata.streaming.writer").BinaryWriter(
            str(folder / "litdata"), chunk_bytes=_CHUNK
        )
        for number, record in enumerate(records()):
            writer[number] = {"image": record}
        writer.done()
        writer.merge()


def _in_chunks(records: Iterable[bytes]) -> Iterable[list[bytes]]:
    chunk, size = [], 0
    for record in records:
        chunk.append(record)
        size += len(record)
        if size >= _CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _read_all(*places: Path) -> None:
    """Bring what a second epoch reads into the page cache, for all sides alike: which pages the first one leaves there
    is the system's choice."""
    for place in places:
        for path in [place, *place.rglob("*")]:
            if path.is_file():
                with open(path, "rb") as file:
                    while file.read(2**22):
                        pass


class _Halts:
    """The longest time in which this process did not run at all, as one that another program stops."""

    def __enter__(self) -> "_Halts":
        self.longest, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        before = time.perf_counter()
        while not self._ended.wait(0.02):
            now = time.perf_counter()
            self.longest, before = max(self.longest, now - before), now

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()


def main() -> None:
    """Time what stdin asks for."""
    side, task = sys.argv[1], json.loads(sys.argv[2])
    # What libraries print is no answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    if side == "write":
        _write(task)
        return
    for line in sys.stdin:
        try:
            found = _round(side, task | json.loads(line))
        except Exception as error:  # noqa: BLE001 - told to the stage
            found = {"error": f"{type(error).__name__}: ...{str(error)[-400:]}"}
        print(json.dumps(found), file=answers, flush=True)


def _round(side: str, task: dict[str, Any]) -> dict[str, Any]:
    shutil.rmtree(task["cache"], ignore_errors=True)
    os.makedirs(task["cache"])
    epoch, words = SIDES[side](task)
    epochs = []
    with _Halts() as halts:
        for number in range(task["epochs"]):
            if number:
                _read_all(Path(task["cache"]), Path(task["local"]))
            begin = time.perf_counter()
            size = epoch(number)
            epochs.append({"seconds": time.perf_counter() - begin, "bytes": size})
    epoch(-1)
    shutil.rmtree(task["cache"], ignore_errors=True)
    return {"settings": words, "epochs": epochs, "halted_seconds": halts.longest}


if __name__ == "__main__":
    main()
