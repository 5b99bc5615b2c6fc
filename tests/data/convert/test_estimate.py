"""The estimate before a conversion is near what it comes to, and a disk that is too small is refused."""

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.config.write import OutputConfig, RulesConfig, SourceConfig, WriteConfig
from engine.data.convert.chunk import chunk_size, make_tasks, record_settings
from engine.data.convert.conversion import convert
from engine.data.convert.conversion_plan import make_plan
from engine.data.convert.estimate import Estimate, estimate
from engine.data.convert.workers import Encoders
from engine.data.sources import Source, open_split
from engine.errors import UserError
from engine.progress import human_bytes
from tests.data.conftest import jpeg_bytes, photo, write_tree
from tests.data.sources.forms import write_idx_split


@pytest.mark.parametrize("workers", [1, 2])
def test_sample_mean_is_near_the_mean_of_all_images(tmp_path: Path, workers: int) -> None:
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


def test_estimate_line_has_size_time_and_free_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    _free(monkeypatch, 500e9)
    assert _ABOUT.check(Path("out"), images=1_000_000, left=720_000, there=0, workers=2) == (
        "1,000,000 images need about 100.0 GB (90.0 GB to 110.0 GB) in out, where 500.0 GB are free; 720,000 of them "
        "are left to convert, in about 1.0 h with 2 workers"
    )


@pytest.mark.parametrize(("left", "expected"), [(5_999, None), (6_000, "in about 1.0 min with 1 worker")])
def test_time_below_a_minute_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, left: int, expected: str | None
) -> None:
    _free(monkeypatch, 500e9)
    said = _ABOUT.check(Path("out"), images=10_000, left=left, there=0, workers=1)
    assert said.endswith(expected or "5,999 of them are left to convert")


@dataclass(frozen=True)
class _OpensSlowly:
    """Takes a second in each process before its first image, as the unpacking of a file does."""

    content: bytes

    def read(self, place: int) -> bytes:
        if not _opened:
            time.sleep(1)
            _opened.append(True)
        return self.content

    def where(self, place: int) -> str:
        return f"image {place}"


_opened: list[bool] = []


@pytest.mark.parametrize("workers", [1, 2])
def test_source_opening_time_is_excluded_per_image(workers: int) -> None:
    _opened.clear()
    count = 1000
    source = Source(
        kind="slow",
        classes=["k"],
        labels=[0] * count,
        ids=[str(number) for number in range(count)],
        places=range(count),
        reader=_OpensSlowly(jpeg_bytes(photo(9, 9))),
    )
    config = WriteConfig(source=SourceConfig(path="x"), output=OutputConfig(folder="x"))
    settings = record_settings(config)
    with Encoders(workers, settings.max_bytes) as encoders:
        found = estimate([make_plan(source, "train", config.output)], encoders, settings)
    # A second of opening among 64 images would be 16 ms or more for each.
    assert 0 < found.seconds < 0.008


def test_printed_sizes_equal_disk_usage(
    tmp_path: Path, gray_squares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = WriteConfig(
        source=SourceConfig(path=str(gray_squares)),
        output=OutputConfig(folder=str(tmp_path / "out"), format="raw", num_workers=1),
    )
    paths = convert(config)
    said = capsys.readouterr().out
    total = sum(path.stat().st_blocks * 512 for path in paths.values())
    assert sum(path.stat().st_size for path in paths.values()) > 1.9 * 8e6, "pages of 8 MiB with holes"
    estimated = float(re.search(r"1,600 images need about ([\d.]+) kB", said)[1]) * 1e3  # type: ignore[index]
    assert total * 0.8 < estimated < total * 1.2
    for path in paths.values():
        assert f"{human_bytes(path.stat().st_blocks * 512)} on disk" in said


@pytest.fixture
def gray_squares(tmp_path: Path) -> Path:
    """Idx files of 1,200 and 400 gray images of 8 x 8 pixels."""
    (tmp_path / "set").mkdir()
    for prefix, count in (("train", 1200), ("t10k", 400)):
        random = np.random.default_rng(count)
        write_idx_split(
            tmp_path / "set",
            prefix,
            random.integers(0, 256, (count, 8, 8), dtype=np.uint8),
            np.arange(count) % 10,
        )
    return tmp_path / "set"


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
def test_too_small_disk_is_refused_and_tight_disk_noted(
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


def test_chunk_is_limited_by_bytes_and_seconds() -> None:
    assert [chunk_size(each, 0) for each in (1, 1e3, 1e5, 1e6, 1e8)] == [256, 256, 41, 4, 1]
    assert [chunk_size(1e5, each) for each in (1e-4, 0.02, 0.2, 5)] == [41, 12, 1, 1]


@pytest.mark.parametrize("first", [0, 7, 40])
def test_tasks_cover_the_rest_of_the_plan(pets: Path, first: int) -> None:
    config = WriteConfig(source=SourceConfig(path=str(pets)), output=OutputConfig(folder="x"))
    plan = make_plan(open_split(config.source, "train"), "train", config.output)
    tasks = list(make_tasks(plan, first, 16, record_settings(config)))
    assert [task.first for task in tasks] == list(range(first, 40, 16))
    assert [name for task in tasks for name in task.ids] == list(plan.images.ids[first:])
    assert all(len(task.ids) == len(task.places) == len(task.modes) for task in tasks)
