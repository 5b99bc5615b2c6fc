"""What a loader says of its time: counted where it can be, and told apart where the system tells."""

import gc
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.data.beton.reader import Beton, open_beton
from engine.data.loading.loader import Loader
from engine.data.loading.meters import Busy, DataFigures, DeviceMeter, PoolMeter, ThreadMeter
from engine.devices import event
from tests.data.betons import write_pixels
from tests.data.conftest import photo
from tests.data.loaders import CPU, LAW, RESOLUTION
from tests.data.resident import drop


@pytest.fixture
def beton(tmp_path: Path) -> Beton:
    return open_beton(write_pixels(tmp_path, [photo(200, 333, seed) for seed in range(12)], "raw"))


def measured(work: Callable[[], None]) -> Busy:
    """What a thread of its own did with `work`."""
    found: list[Busy] = []

    def run() -> None:
        meter = ThreadMeter()
        meter.begin()
        work()
        found.append(meter.end())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def burn(seconds: float) -> None:
    """Keep a core busy for that long."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_meter_counts_work_as_cpu_time_and_sleep_as_none() -> None:
    busy = measured(lambda: burn(0.05))
    assert busy.cpu >= 0.05 and busy.read == 0
    idle = measured(lambda: time.sleep(0.05))
    assert idle.cpu < 0.05 and idle.read == 0


def test_meter_counts_page_faults_from_disk_as_reading(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(64 * 2**20))
    drop(path)
    memory = np.memmap(path, dtype=np.uint8, mode="r")
    cold = measured(lambda: memory[::4096].sum())
    warm = measured(lambda: memory[::4096].sum())
    if not cold.read:
        pytest.skip("the temporary folder is in memory")
    assert warm.read == 0


def test_meter_counts_waiting_for_a_core_as_queueing() -> None:
    if not Path("/proc/thread-self/schedstat").exists():
        pytest.skip("this system does not say how long a thread waits for a core")
    core = {min(os.sched_getaffinity(0))}
    # Python's own lock lets one thread at a time work: the other one is a process.
    child = os.fork()
    if not child:
        os.sched_setaffinity(0, core)
        burn(5)
        os._exit(0)

    def share_it() -> None:
        os.sched_setaffinity(0, core)
        burn(0.2)

    try:
        busy = measured(share_it)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert busy.queue > 0.02
    assert busy.read == 0


def test_pool_adds_up_its_threads() -> None:
    pool = PoolMeter()
    for _ in range(2):
        pool.add(Busy(1.0, 0.25, 0.5))
    assert pool.figures() == Busy(2.0, 0.5, 1.0)


@pytest.mark.parametrize("decoder", ["cpu", "packed"])
def test_loader_counts_its_images_and_batches(beton: Beton, decoder: str) -> None:
    with Loader(beton, device=CPU, workers=2, batches_ahead=2, decoder=decoder, in_memory=False) as loader:
        assert loader.figures() == DataFigures()
        for epoch in range(1, 3):
            before = loader.figures()
            list(loader.batches(np.arange(12).reshape(-1, 4), RESOLUTION, LAW))
            done = loader.figures() - before
            assert (done.images, done.asked, done.record_bytes) == (12, 3, int(beton.sizes.sum()))
            assert 0 <= done.ready <= done.asked
            assert done.cpu_seconds > 0 and done.fill_seconds > 0
            assert done.idle_seconds == done.wait_seconds == loader.wait_seconds - before.wait_seconds
            assert done.copy_seconds == done.window_seconds == 0
            assert loader.figures().images == 12 * epoch


def test_ended_threads_leave_no_open_files(beton: Beton) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def work() -> int:
        for _ in range(3):
            with Loader(beton, device=CPU, workers=3, in_memory=False) as loader:
                for _ in range(3):
                    list(loader.host_batches(np.arange(12).reshape(-1, 4), RESOLUTION, LAW))
        gc.collect()
        return descriptors()

    # The first time libraries may open files of their own.
    first = work()
    assert work() == first


def test_missing_schedstat_gives_no_queueing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int) -> int:
        raise FileNotFoundError(path)

    monkeypatch.setattr("engine.data.loading.meters.os.open", refuse)
    assert measured(lambda: burn(0.01)).queue == 0


@pytest.mark.gpu
def test_gpu_time_is_measured_by_events_without_waiting(beton: Beton) -> None:
    device = torch.device("cuda", 0)
    meter, begin = DeviceMeter(), event(device, timed=True)
    torch.cuda._sleep(50_000_000)
    meter.add(begin, event(device, timed=True))
    assert meter.seconds() == 0
    torch.cuda.synchronize()
    assert meter.seconds() > 0.005
    with Loader(beton, device=device, in_memory=False) as loader:
        for _ in loader.batches(np.arange(12).reshape(-1, 4), RESOLUTION, LAW):
            pass
        torch.cuda.synchronize()
        done = loader.figures()
        assert 0 < done.copy_seconds < 1
        assert done.idle_seconds > 0
