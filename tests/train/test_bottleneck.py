"""What limits an epoch is named: from made-up figures, and in real runs whose disk, cores or step are really slow."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.config.train.train_config import DataConfig, TrainConfig
from engine.data.loading.meters import DataFigures
from engine.runs.log_fields import log_fields
from engine.runs.log_schema import Limits
from engine.train.bottleneck import EpochFigures, EpochMeter, Verdict, limits_entry, verdict
from engine.train.ranks.group import Ranks
from tests.data import failing_disk
from tests.data.betons import write_pixels
from tests.train.conftest import ROOT, log_of, train_here

Options = Callable[..., list[str]]

NEVER = 2**62
PAUSE = 0.03
"""Seconds that the slow disk takes for each read, of at most 128 KiB: some 4 MB/s."""


def judged(data: Mapping[str, float], **epoch: Any) -> Verdict:
    """The verdict on an epoch of 100 s on a GPU with 4 cores and jpeg storage, but for what is given."""
    usual = {
        "seconds": 100.0,
        "on_gpu": True,
        "cores": 4,
        "workers": 4,
        "storage": "jpeg",
        "pages": False,
        "process_cpu_seconds": 350.0,
        "disk_bytes": 0.0,
    }
    return verdict(EpochFigures(**{**usual, **epoch}, data=DataFigures(images=1e5, asked=400, **data)))


def test_decode_limit_advises_the_missing_cores() -> None:
    found = judged({"idle_seconds": 41, "fill_seconds": 98, "cpu_seconds": 310})
    assert found == Verdict(
        "decode",
        "decode: 3.1 of 4 cores busy with it, step idle 41% of the time",
        "use yuv420 storage or 3 more cores",
    )


def test_decode_limit_with_idle_cores_advises_workers() -> None:
    found = judged({"idle_seconds": 50, "fill_seconds": 98, "cpu_seconds": 290}, cores=16, workers=3)
    assert found.advice == "use yuv420 storage or 3 more workers (data.num_workers=6)"
    one = judged({"idle_seconds": 20, "fill_seconds": 98, "cpu_seconds": 290}, cores=4, workers=3)
    assert one.advice.endswith("or 1 more worker (data.num_workers=4)")


@pytest.mark.parametrize(
    ("storage", "advice"),
    [
        ("jpeg", "use yuv420 storage or 4 more cores"),
        ("proportion", "use yuv420 storage or 4 more cores"),
        ("yuv420", "data.decoder=packed or 4 more cores"),
        ("yuv420-packed", "4 more cores"),
    ],
)
def test_decode_advice_depends_on_the_storage(storage: str, advice: str) -> None:
    data = {"idle_seconds": 50, "fill_seconds": 98, "cpu_seconds": 390}
    assert judged(data, storage=storage).advice == advice


def test_decode_threads_waiting_for_cores_are_reported() -> None:
    found = judged({"idle_seconds": 50, "fill_seconds": 98, "cpu_seconds": 100, "queue_seconds": 290})
    assert found.stage == "decode"
    assert "its threads waited for a core 74% of their time" in found.words


def test_disk_limit_has_the_read_rate() -> None:
    data = {"idle_seconds": 60, "fill_seconds": 98, "cpu_seconds": 60, "read_seconds": 300}
    found = judged(data, disk_bytes=1.2e10)
    assert found.words == "disk: reading at 120 MB/s took 82% of the time, step idle 60% of the time"
    assert "data.order=pages" in found.advice and "jpeg" not in found.advice
    assert "jpeg storage is smaller" in judged(data, storage="yuv420-packed").advice


def test_waiting_for_windows_counts_as_disk() -> None:
    data = {"idle_seconds": 60, "fill_seconds": 98, "window_seconds": 70, "cpu_seconds": 110}
    found = judged(data, pages=True)
    # Network file systems' bytes are not counted.
    assert found.words == "disk: reading took 70% of the time, step idle 60% of the time"
    assert "data.order=pages" not in found.advice


def test_waiting_for_bytes_from_a_url_is_the_download() -> None:
    data = {
        "idle_seconds": 60,
        "fill_seconds": 98,
        "window_seconds": 5,
        "cpu_seconds": 20,
        "download_seconds": 70,
        "download_bytes": 5e9,
    }
    found = judged(data, pages=True)
    assert found.words == (
        "download: waiting for bytes that arrived at 50 MB/s took 70% of the time, step idle 60% of the time"
    )
    assert "later epochs" in found.advice and "data.cache_folder" in found.advice


def test_copy_limit_has_the_link_share() -> None:
    data = {"idle_seconds": 30, "fill_seconds": 40, "cpu_seconds": 100, "copy_seconds": 92}
    found = judged(data)
    assert found.words == "copy: the link to the device was busy 92% of the time, step idle 30% of the time"
    assert found.advice == "yuv420 storage, of which only the crops are copied"
    assert "smaller" in judged(data, storage="raw-packed").advice


def test_step_limit_says_how_much_faster_data_could_come() -> None:
    found = judged({"idle_seconds": 1, "fill_seconds": 40, "cpu_seconds": 100, "copy_seconds": 20})
    assert found.words == "step: it waited for data 1% of the time; data could come 2.5 times as fast"
    # The threads wait for free slots then; what they were busy with does not matter.
    assert judged({"idle_seconds": 1, "fill_seconds": 99, "cpu_seconds": 390}).stage == "step"


def test_cpu_decoding_with_most_of_the_cpu_time_is_the_limit() -> None:
    cpu = {"on_gpu": False, "cores": 2, "workers": 2}
    data = {"idle_seconds": 2, "fill_seconds": 95, "cpu_seconds": 120}
    most = judged(data, process_cpu_seconds=190.0, **cpu)
    assert most.words == (
        "decode: 1.2 of 2 cores busy with it, step idle 2% of the time; the step shares these cores"
    )
    less = judged(data, process_cpu_seconds=250.0, **cpu)
    assert less.words == "step: 1.3 of 2 cores busy with it, 1.2 with decoding, step idle 2% of the time"
    assert less.advice.startswith("use yuv420 storage, which leaves more of the cores to the step")
    assert judged({"cpu_seconds": 5}, **cpu).advice == "a smaller network or resolution, or more cores"


def test_short_wait_without_a_busy_stage_is_step() -> None:
    # Four steps, of which the first waited for its batch.
    found = judged({"idle_seconds": 6, "fill_seconds": 30, "cpu_seconds": 100})
    assert found.words == (
        "step: it waited for data 6% of the time; data could come 3.3 times as fast; it waited for the first "
        "batches or in short bursts: no other stage was busier"
    )
    busier = judged({"idle_seconds": 6, "fill_seconds": 96, "cpu_seconds": 380})
    assert busier.stage == "decode"
    assert judged({"idle_seconds": 4.9, "fill_seconds": 96, "cpu_seconds": 380}).stage == "step"


@pytest.mark.parametrize(
    ("idle", "decoding", "stage"),
    [
        (6, 18, "step"),
        (20, 90, "step"),
        (6, 104, "decode"),
        (26, 90, "decode"),
        (1, 94, "step"),
        (1, 101, "decode"),
    ],
)
def test_cpu_decode_threads_waiting_for_the_step_are_not_the_limit(
    idle: float, decoding: float, stage: str
) -> None:
    # By the clock its threads are busy all the time, also while they wait for a core.
    data = {"idle_seconds": idle, "fill_seconds": 99, "cpu_seconds": decoding, "queue_seconds": 150}
    assert judged(data, on_gpu=False, cores=2, workers=2, process_cpu_seconds=195.0).stage == stage


def test_verdict_uses_the_rank_that_waited_longest() -> None:
    class Loader:
        decoder = ("jpeg", "")
        idle = 0.0

        def figures(self) -> DataFigures:
            return DataFigures(images=10, asked=2, idle_seconds=self.idle, cpu_seconds=2 * self.idle)

    class OfThree(Ranks):
        def sum(self, values: torch.Tensor) -> torch.Tensor:
            own = values[self.rank].clone()
            values[0], values[1], values[2] = 2 * own, own, 3 * own
            return values

    loader = Loader()
    config = TrainConfig(data=DataConfig(train_dataset="a", val_dataset="b"))
    ranks = OfThree(rank=1, world=3, local_rank=1, local_world=3, device=torch.device("cpu"))
    meter = EpochMeter(config, ranks, loader)
    loader.idle = 1.0
    assert (meter.figures().data.idle_seconds, meter.figures().data.cpu_seconds) == (3.0, 6.0)


def test_replay_is_always_limited_by_step() -> None:
    found = judged({}, replay=True)
    assert (found.stage, "loaded before the epoch (data.replay)" in found.words) == ("step", True)


def test_epoch_of_only_waiting_advises_many_more_cores() -> None:
    found = judged({"idle_seconds": 100, "fill_seconds": 100, "cpu_seconds": 390})
    assert found.advice == "use yuv420 storage or many more cores"


def test_log_entry_has_stage_and_figures() -> None:
    data = DataFigures(images=1000, asked=10, ready=7.5, idle_seconds=1, cpu_seconds=4, record_bytes=5e6)
    entry = limits_entry(
        EpochFigures(
            seconds=50.0,
            on_gpu=True,
            cores=4,
            workers=3,
            storage="raw-packed",
            pages=False,
            process_cpu_seconds=60.0,
            disk_bytes=0.0,
            data=data,
        )
    )
    assert entry["limited_by"] == "step"
    limits = entry["limits"]
    assert (limits.ready, limits.decode_cpu_ms_per_image, limits.step_seconds) == (0.75, 4, 49)
    assert all(value is not None for value in limits.fields().values())
    assert len(limits.fields()) == len(log_fields(Limits))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 finely grained JPEGs of a megapixel."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (24, 225, 300, 3), np.uint8)
    pictures = [np.kron(picture, np.ones((4, 4, 1), np.uint8)) for picture in coarse]
    return write_pixels(tmp_path_factory.mktemp("large"), pictures, "jpeg", max_resolution=0).parent


@pytest.fixture(scope="module")
def slow_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system that serves 40 raw images of 200 KB, slowly; its page cache is as any other's."""
    folder = tmp_path_factory.mktemp("slow")
    random = np.random.default_rng(0)
    pictures = list(random.integers(0, 256, (40, 220, 300, 3), np.uint8))
    path, place = write_pixels(folder, pictures, "raw"), folder / "disk"
    place.mkdir()
    served = [sys.executable, failing_disk.__file__, str(path), str(place), str(NEVER), str(PAUSE)]
    server = subprocess.Popen(served, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout and server.stderr
    if server.stdout.readline() != "mounted\n":
        pytest.skip(f"a file system of our own is not possible here: {server.communicate()[1].strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        server.kill()
        server.wait()
        server.stdout.close()
        server.stderr.close()


def limits_of(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Of each epoch: the stage, and the figures."""
    return [(epoch["limited_by"], epoch["limits"]) for epoch in log_of(folder, "epoch")]


@pytest.mark.slow
@pytest.mark.parametrize("order", ["random", "pages"])
def test_slow_disk_is_limited_by_disk(slow_disk: Path, options: Options, order: str) -> None:
    files = {"data__train_dataset": slow_disk / "disk" / "file", "data__val_dataset": slow_disk / "val.beton"}
    reading = {"data__in_memory": False, "data__order": order, "data__window_mb": 8}
    _, folder = train_here(options(**files, **reading, training__epochs=2))
    (first, figures), (second, _) = limits_of(folder)
    assert first == "disk", figures
    assert figures["words"].startswith("disk: reading ")
    if order == "random":
        assert figures["read_seconds"] > figures["decode_cpu_seconds"]
        # It lies in memory by now.
        assert second != "disk"
    else:
        # Windows are released, and read anew.
        assert second == "disk"


@pytest.mark.slow
def test_one_core_is_limited_by_decode(large: Path, options: Options) -> None:
    argv = options(
        data__train_dataset=large / "train.beton",
        data__val_dataset=large / "val.beton",
        training__batch_size=8,
        augmentation__min_scale=1.0,
        augmentation__max_scale=1.0,
        logging__name="one-core",
    )
    core = str(min(os.sched_getaffinity(0)))
    done = subprocess.run(
        ["taskset", "-c", core, sys.executable, str(ROOT / "train_imagenet.py"), *argv],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = Path(next(word for word in argv if word.startswith("--logging.folder=")).split("=")[1])
    # The first epoch's threads share the core with whatever the process does at its start.
    for stage, figures in limits_of(folder / "one-core")[1:]:
        assert stage == "decode", figures
        assert "of 1 core busy with it" in figures["words"]
        assert "use yuv420 storage" in figures["advice"]
    assert "limited by decode" in done.stdout


@pytest.mark.slow
def test_slow_step_is_limited_by_step(options: Options) -> None:
    _, folder = train_here(
        options(
            model__arch="resnet50",
            resolution__min_res=64,
            resolution__max_res=64,
            training__epochs=2,
            logging__log_level=0,
        )
    )
    for stage, figures in limits_of(folder):
        assert stage == "step", figures
        assert "cores busy with it" in figures["words"] or "1 core" in figures["words"]
