"""write_dataset.py as a process: what a user sees of success, of each mistake, and of a sudden end."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from engine.errors import UserError
from tests.data.conftest import Tree, jpeg_bytes, photo

ROOT = Path(__file__).parents[3]
Run = Callable[..., subprocess.CompletedProcess[str]]

PARTS = [f"{split}.beton.partial{end}" for split in ("train", "val") for end in ("", ".journal")]


def _refused(result: subprocess.CompletedProcess[str], *expected: str) -> None:
    """Exit code 2, and one line on stderr that holds all of `expected`."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for words in expected:
        assert words in result.stderr


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_it_writes_both_files_from_any_folder(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    done = write_dataset("source.path=pets", "output.folder=deep/out", "output.num_workers=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert _left(tmp_path / "deep/out") == ["train.beton", "val.beton"]
    assert "train.beton: 40 images (40 JPEG, 0 raw), 2 classes" in done.stdout
    assert open_beton(tmp_path / "deep/out/train.beton").num_samples == 40


def test_a_missing_source(write_dataset: Run, tmp_path: Path) -> None:
    _refused(write_dataset("source.path=nowhere", "output.folder=out"), "source.path nowhere does not exist")
    _refused(write_dataset("output.folder=out"), "source.path is not set")
    _refused(write_dataset("source.path=.", "output.folder=out"), "no folder 'train' under .")
    assert not (tmp_path / "out").exists()


def test_a_missing_val_folder(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    (pets / "val").rename(pets / "validation")
    result = write_dataset(f"source.path={pets}", "output.folder=out")
    _refused(result, "no folder 'val'", "found: train, validation", "--source.val_folder=validation")
    assert not (tmp_path / "out").exists()


def test_an_empty_class_folder(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (pets / split / "emu").mkdir()
    _refused(
        write_dataset(f"source.path={pets}", "output.folder=out"),
        f"no images in class folder {pets}/train/emu",
    )
    assert not (tmp_path / "out").exists()


def test_classes_that_differ(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    (pets / "val/dog").rename(pets / "val/wolf")
    result = write_dataset(f"source.path={pets}", "output.folder=out")
    _refused(result, "only in train: 'dog'; only in val: 'wolf'")
    assert not (tmp_path / "out").exists()


def test_a_text_file_named_jpeg(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    (pets / "train/dog/notes.JPEG").write_text("not an image\n" * 50)
    result = write_dataset(f"source.path={pets}", "output.folder=out", "output.num_workers=2")
    _refused(result, "cannot use image", "train/dog/notes.JPEG", "--rules.unreadable=skip")
    assert "the same command goes on" in result.stdout
    assert not {"train.beton", "val.beton"} & set(_left(tmp_path / "out"))
    result = write_dataset(f"source.path={pets}", "output.folder=out", "rules.unreadable=skip")
    assert (result.returncode, result.stderr) == (0, "")
    assert "unreadable 1" in result.stdout and "; 1 left out" in result.stdout
    assert _left(tmp_path / "out") == ["train.beton", "val.beton"]


def test_a_truncated_jpeg(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    path = pets / "val/dog/003.jpg"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    result = write_dataset(f"source.path={pets}", "output.folder=out", "output.num_workers=2")
    _refused(result, "cannot use image", "val/dog/003.jpg", "--rules.damaged=skip or --rules.damaged=repair")
    assert _left(tmp_path / "out") == []


def test_bad_options(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    for option, expected in (
        ("output.max_res=5", "output.max_resolution"),
        ("output.jpeg_quality=101", "jpeg_quality"),
        ("output.format=png", "jpeg, raw, proportion"),
        ("output.page_size=3", "power of two"),
    ):
        _refused(write_dataset(f"source.path={pets}", "output.folder=out", option), expected)
    assert not (tmp_path / "out").exists()


def test_a_url_is_no_output_folder(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    _refused(
        write_dataset(f"source.path={pets}", "output.folder=s3://bucket/x"),
        "output.folder: s3://bucket/x is a URL: it must be a folder on this machine; copy the files afterwards",
    )
    assert not (tmp_path / "s3:").exists()


def test_an_output_that_cannot_be_written(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    _refused(write_dataset(f"source.path={pets}", "output.folder=file"), "file is a file, not a folder")
    _refused(
        write_dataset(f"source.path={pets}", "output.folder=file/out"),
        "cannot write into file/out: part of the path is a file",
    )
    assert (tmp_path / "file").read_text() == "mine"


def test_a_name_that_is_too_long(write_dataset: Run, pets: Path) -> None:
    for folder in ("x" * 300, f"{'x' * 300}/out"):
        result = write_dataset(f"source.path={pets}", f"output.folder={folder}")
        _refused(result, f"cannot write into {folder}: a name in the path is too long: shorten it")


@pytest.fixture
def forbidden(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process must not look into, whoever it belongs to."""
    folder, user = tmp_path / "forbidden", os.geteuid()
    folder.mkdir(mode=0)
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    folder.chmod(0o700)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_another_user(forbidden: Path, overwrite: bool) -> None:
    output = OutputConfig(folder=str(forbidden / "out"), overwrite=overwrite)
    with pytest.raises(
        UserError, match=r"cannot write into .*/forbidden/out: permission denied: check the owner"
    ):
        convert(WriteConfig(source=SourceConfig(path="nowhere"), output=output))


def _mount(folder: Path, *options: str) -> None:
    folder.mkdir()
    result = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {result.stderr.strip()}")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a tmpfs with the given options; gone after the test."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    folder = tmp_path / "mounted"

    def mount(*options: str) -> Path:
        _mount(folder, *options)
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_file_system(write_dataset: Run, pets: Path, mounted: Callable[..., Path]) -> None:
    folder = mounted("ro", "size=1m")
    _refused(write_dataset(f"source.path={pets}", f"output.folder={folder}"), "the file system is read-only")
    _refused(
        write_dataset(f"source.path={pets}", f"output.folder={folder}/out"), "the file system is read-only"
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk(
    write_dataset: Run, pets: Path, mounted: Callable[..., Path], tmp_path: Path, workers: int
) -> None:
    folder = mounted("size=300k")
    options = ["output.format=raw", "output.page_size=2", f"output.num_workers={workers}"]
    command = (f"source.path={pets}", f"output.folder={folder}", *options)
    _refused(write_dataset(*command), "cannot write", "the disk is full")
    assert not {"train.beton", "val.beton"} & set(_left(folder))
    # Nothing has changed, and it is no worse for having been tried twice.
    _refused(write_dataset(*command), "cannot write", "the disk is full")
    subprocess.run(["mount", "-o", "remount,size=3m", str(folder)], check=True)
    done = write_dataset(*command)
    assert (done.returncode, done.stderr) == (0, "")
    fresh = write_dataset(f"source.path={pets}", "output.folder=fresh", *options)
    assert fresh.returncode == 0, fresh.stderr
    assert _left(folder) == ["train.beton", "val.beton"]
    for name in _left(folder):
        assert (folder / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_a_disk_that_is_too_small_is_told_before(
    write_dataset: Run, pets: Path, mounted: Callable[..., Path], tmp_path: Path
) -> None:
    for number in range(1000):
        os.link(pets / "train/cat/005.jpg", pets / f"train/dog/more{number}.jpg")
    folder = mounted("size=1m")
    options = ["output.format=raw", "output.page_size=2", "output.num_workers=1"]
    result = write_dataset(f"source.path={pets}", f"output.folder={folder}", *options)
    # 1,000 images of 90 x 120 pixels.
    _refused(result, f"{folder} has only 1.0 MB free, and the files need about 3", " MB", "free some space")
    assert _left(folder) == []
    result = write_dataset(f"source.path={pets}", "output.folder=out", *options)
    assert (result.returncode, result.stderr) == (0, "")
    assert "1,047 images need about 3" in result.stdout and " s with 1 worker" in result.stdout


# --- sudden ends


@pytest.fixture
def long_source(tmp_path: Path) -> Path:
    """A source that takes this machine tens of seconds: one large photo under 3,000 names."""
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), dtype=np.uint8)
    image = tmp_path / "image.jpg"
    image.write_bytes(cv2.imencode(".jpg", noise)[1].tobytes())
    for split, count in (("train", 3000), ("val", 2)):
        folder = tmp_path / "long" / split / "k"
        folder.mkdir(parents=True)
        for i in range(count):
            os.link(image, folder / f"{i:05d}.jpg")
    return tmp_path / "long"


@pytest.fixture
def starting(long_source: Path, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A conversion to `out` that has just been started, with two workers; it ends with the test."""
    command = [sys.executable, str(ROOT / "write_dataset.py"), f"--source.path={long_source}"]
    command += ["--output.folder=out", "--output.num_workers=2", "--output.max_resolution=400"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, **pipes)
    try:
        yield process
    finally:
        # The whole group in any case: a worker left behind would hold the pipes open, and communicate wait.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def conversion(starting: "subprocess.Popen[str]", tmp_path: Path) -> "subprocess.Popen[str]":
    """The same under way: the workers are at work and a part of train.beton is written."""
    partial = tmp_path / "out/train.beton.partial"
    _wait_for(lambda: partial.exists() and partial.stat().st_size > 9 * 2**20, "a part of train.beton")
    assert starting.poll() is None
    return starting


def _wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.05)


def _workers(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    workers = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "--multiprocessing-fork" in child.cmdline():
                workers.append(child)
    return workers


def _gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_kill_9_of_the_conversion_leaves_no_file_and_no_process(
    conversion: "subprocess.Popen[str]", write_dataset: Run, pets: Path, tmp_path: Path
) -> None:
    workers = _workers(conversion)
    assert len(workers) == 2
    conversion.kill()
    conversion.wait()
    _wait_for(lambda: _gone(workers), "end of the workers", 15)
    assert _left(tmp_path / "out") == PARTS
    done = write_dataset(f"source.path={pets}", "output.folder=out", "output.num_workers=1")
    assert done.returncode == 0, done.stderr
    assert _left(tmp_path / "out") == ["train.beton", "val.beton"]


def test_kill_9_of_a_worker_ends_the_conversion_within_seconds(
    conversion: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    workers = _workers(conversion)
    workers[0].kill()
    _, errors = conversion.communicate(timeout=15)
    assert conversion.returncode == 2
    assert errors.count("\n") == 1, errors
    assert errors.startswith("error: an encoding process was killed")
    assert _gone(workers)
    assert _left(tmp_path / "out") == PARTS


def test_ctrl_c_ends_it_cleanly(conversion: "subprocess.Popen[str]", tmp_path: Path) -> None:
    workers = _workers(conversion)
    # As a terminal does: to every process of the group.
    os.killpg(conversion.pid, signal.SIGINT)
    _, errors = conversion.communicate(timeout=15)
    assert conversion.returncode == 130
    assert errors == "interrupted\n"
    assert _gone(workers)
    assert _left(tmp_path / "out") == PARTS


def test_ctrl_c_while_the_workers_start_ends_it_cleanly(
    starting: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    _wait_for(lambda: len(_workers(starting)) > 0, "worker")
    os.killpg(starting.pid, signal.SIGINT)
    _, errors = starting.communicate(timeout=30)
    assert starting.returncode == 130
    assert errors == "interrupted\n"
    assert _left(tmp_path / "out") == []


def test_damage_amid_a_kept_jpeg_is_found_unless_the_check_is_left_out(
    make_tree: Callable[[Tree], Path], write_dataset: Run, tmp_path: Path
) -> None:
    sound = jpeg_bytes(photo(64, 64))
    middle = len(sound) * 3 // 4
    damaged = sound[:middle] + b"\xff\xc0" * 9 + sound[middle + 18 :]
    source = make_tree({"train": {"a": {"x.jpg": damaged}}, "val": {"a": {"y.jpg": sound}}})
    options = (f"source.path={source}", f"output.folder={tmp_path}/out", "output.num_workers=1")
    refused = write_dataset(*options)
    assert refused.returncode == 2 and "x.jpg" in refused.stderr and "rules.damaged" in refused.stderr
    done = write_dataset(*options, "output.jpeg_check=false")
    assert done.returncode == 0, done.stderr
