"""What is said before a conversion is near what it comes to, and a disk that is too small is told before."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.config.write import OutputConfig, RulesConfig, SourceConfig, WriteConfig
from engine.data.convert.chunk import chunk_size, make_tasks, record_settings
from engine.data.convert.estimate import Estimate, estimate
from engine.data.convert.plan import make_plan
from engine.data.convert.workers import Encoders
from engine.data.sources import open_split
from engine.errors import UserError
from tests.data.conftest import photo, write_tree


@pytest.mark.parametrize("workers", [1, 2])
def test_the_mean_of_a_sample_is_near_that_of_all(tmp_path: Path, workers: int) -> None:
    sides = np.random.default_rng(0).integers(20, 120, 300)
    files = {f"{i:03d}.jpg": photo(int(side), int(side), seed=i) for i, side in enumerate(sides)}
    root = write_tree(
        tmp_path / "s", {"train": {"k": {**files, "x.jpg": b""}}, "val": {"k": {"1.jpg": files["000.jpg"]}}}
    )
    config = WriteConfig(
        source=SourceConfig(path=str(root)),
        output=OutputConfig(folder="x", format="raw"),
        rules=RulesConfig(empty="skip"),
    )
    plans = [make_plan(open_split(config.source, split), split, config.output) for split in ("val", "train")]
    settings = record_settings(config)
    with Encoders(workers, settings.max_bytes) as encoders:
        found = estimate(plans, encoders, settings)
    mean = float((3 * sides.astype(float) ** 2).mean())
    assert abs(found.bytes - mean) < found.error * found.bytes + 100
    assert 0.05 < found.error < 0.4
    assert 0 < found.seconds < 1


def _free(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=int(free)))


_ABOUT = Estimate(bytes=1e5, error=0.1, seconds=0.01)


def test_it_says_size_time_and_free_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    _free(monkeypatch, 500e9)
    assert _ABOUT.check(Path("out"), images=1_000_000, left=720_000, there=0, workers=2) == (
        "1,000,000 images need about 100.0 GB (90.0 GB to 110.0 GB) in out, where 500.0 GB are free; 720,000 of them "
        "are to be done, in about 1.0 h with 2 workers"
    )


@pytest.mark.parametrize(
    ("free", "there", "expected"),
    [
        (89e9, 0, "refused"),
        (91e9, 0, "may not fit"),
        (111e9, 0, "fits"),
        (41e9, 50e9, "may not fit"),
        (61e9, 50e9, "fits"),
    ],
)
def test_a_disk_that_cannot_hold_it_is_refused_and_a_doubt_is_told(
    monkeypatch: pytest.MonkeyPatch, free: float, there: float, expected: str
) -> None:
    _free(monkeypatch, free)
    if expected == "refused":
        with pytest.raises(
            UserError, match=r"out has only 89\.0 GB free, and the files need about 100\.0 GB"
        ):
            _ABOUT.check(Path("out"), images=10**6, left=10**6, there=int(there), workers=2)
        return
    said = _ABOUT.check(Path("out"), images=10**6, left=10**6, there=int(there), workers=2)
    assert ("they may not fit" in said) == (expected == "may not fit")


def test_chunks_have_some_megabytes_and_a_fraction_of_a_second() -> None:
    assert [chunk_size(each, 0) for each in (1, 1e3, 1e5, 1e6, 1e8)] == [256, 256, 41, 4, 1]
    assert [chunk_size(1e5, each) for each in (1e-4, 0.02, 0.2, 5)] == [41, 12, 1, 1]


@pytest.mark.parametrize("first", [0, 7, 40])
def test_tasks_are_the_rest_of_the_plan(pets: Path, first: int) -> None:
    config = WriteConfig(source=SourceConfig(path=str(pets)), output=OutputConfig(folder="x"))
    plan = make_plan(open_split(config.source, "train"), "train", config.output)
    tasks = list(make_tasks(plan, first, 16, record_settings(config)))
    assert [task.first for task in tasks] == list(range(first, 40, 16))
    assert [name for task in tasks for name in task.ids] == list(plan.images.ids[first:])
    assert all(len(task.ids) == len(task.places) == len(task.modes) for task in tasks)
