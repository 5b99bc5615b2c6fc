"""write_dataset.py as a process: what a user sees of success, of each mistake, and of a sudden end."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from engine.errors import UserError
from tests.data.conftest import Tree, jpeg_bytes, photo
from tests.data.conversions import names

ROOT = Path(__file__).parents[3]
Run = Callable[..., subprocess.CompletedProcess[str]]


def _refused(result: subprocess.CompletedProcess[str], *expected: str) -> None:
    """Exit code 2, and one line on stderr that holds all of `expected`."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for words in expected:
        assert words in result.stderr


def test_both_files_are_written_from_any_folder(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    done = write_dataset("source.path=pets", "output.folder=deep/out", "output.num_workers=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert names(tmp_path / "deep/out") == ["train.beton", "val.beton"]
    assert "train.beton: 40 images (40 JPEG, 0 raw), 2 classes" in done.stdout
    assert open_beton(tmp_path / "deep/out/train.beton").num_samples == 40


def test_missing_source_is_refused(write_dataset: Run, tmp_path: Path) -> None:
    _refused(write_dataset("source.path=nowhere", "output.folder=out"), "source.path nowhere does not exist")
    _refused(write_dataset("output.folder=out"), "source.path is not set")
    _refused(write_dataset("source.path=.", "output.folder=out"), "no folder 'train' under .")
    assert not (tmp_path / "out").exists()


def test_missing_val_folder_is_refused(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    (pets / "val").rename(pets / "validation")
    result = write_dataset(f"source.path={pets}", "output.folder=out")
    _refused(result, "no folder 'val'", "found: train, validation", "--source.val_folder=validation")
    assert not (tmp_path / "out").exists()


def test_empty_class_folder_is_refused(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (pets / split / "emu").mkdir()
    _refused(
        write_dataset(f"source.path={pets}", "output.folder=out"),
        f"no images in class folder {pets}/train/emu",
    )
    assert not (tmp_path / "out").exists()


def test_different_classes_are_refused(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    (pets / "val/dog").rename(pets / "val/wolf")
    result = write_dataset(f"source.path={pets}", "output.folder=out")
    _refused(result, "only in train: 'dog'; only in val: 'wolf'")
    assert not (tmp_path / "out").exists()


def test_text_file_named_jpeg_is_refused(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    (pets / "train/dog/notes.JPEG").write_text("not an image\n" * 50)
    result = write_dataset(f"source.path={pets}", "output.folder=out", "output.num_workers=2")
    _refused(result, "cannot use image", "train/dog/notes.JPEG", "--rules.unreadable=skip")
    assert "run the same command again to resume" in result.stdout
    assert not {"train.beton", "val.beton"} & set(names(tmp_path / "out"))
    result = write_dataset(f"source.path={pets}", "output.folder=out", "rules.unreadable=skip")
    assert (result.returncode, result.stderr) == (0, "")
    assert "unreadable 1" in result.stdout and "; 1 left out" in result.stdout
    assert names(tmp_path / "out") == ["train.beton", "val.beton"]


def test_truncated_jpeg_is_refused(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    path = pets / "val/dog/003.jpg"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    result = write_dataset(f"source.path={pets}", "output.folder=out", "output.num_workers=2")
    _refused(result, "cannot use image", "val/dog/003.jpg", "--rules.damaged=skip or --rules.damaged=repair")
    assert names(tmp_path / "out") == []


def test_bad_options_are_refused(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    for option, expected in (
        ("output.max_res=5", "output.max_resolution"),
        ("output.jpeg_quality=101", "jpeg_quality"),
        ("output.format=png", "jpeg, raw, proportion"),
        ("output.page_size=3", "power of two"),
    ):
        _refused(write_dataset(f"source.path={pets}", "output.folder=out", option), expected)
    assert not (tmp_path / "out").exists()


def test_url_as_output_folder_is_refused(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    _refused(
        write_dataset(f"source.path={pets}", "output.folder=s3://bucket/x"),
        "output.folder: s3://bucket/x is a URL: it must be a folder on this machine; copy the files afterwards",
    )
    assert not (tmp_path / "s3:").exists()


def test_unwritable_output_is_refused(write_dataset: Run, pets: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    _refused(write_dataset(f"source.path={pets}", "output.folder=file"), "file is a file, not a folder")
    _refused(
        write_dataset(f"source.path={pets}", "output.folder=file/out"),
        "cannot write into file/out: part of the path is a file",
    )
    assert (tmp_path / "file").read_text() == "mine"


def test_too_long_name_is_refused(write_dataset: Run, pets: Path) -> None:
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
def test_folder_of_another_user_is_refused(forbidden: Path, overwrite: bool) -> None:
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


def test_read_only_file_system_is_refused(
    write_dataset: Run, pets: Path, mounted: Callable[..., Path]
) -> None:
    folder = mounted("ro", "size=1m")
    _refused(write_dataset(f"source.path={pets}", f"output.folder={folder}"), "the file system is read-only")
    _refused(
        write_dataset(f"source.path={pets}", f"output.folder={folder}/out"), "the file system is read-only"
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk_ends_in_one_line_and_resumes(
    write_dataset: Run, pets: Path, mounted: Callable[..., Path], tmp_path: Path, workers: int
) -> None:
    folder = mounted("size=300k")
    options = ["output.format=raw", "output.page_size=2", f"output.num_workers={workers}"]
    command = (f"source.path={pets}", f"output.folder={folder}", *options)
    _refused(write_dataset(*command), "cannot write", "the disk is full")
    assert not {"train.beton", "val.beton"} & set(names(folder))
    # Nothing has changed, and it is no worse for having been tried twice.
    _refused(write_dataset(*command), "cannot write", "the disk is full")
    subprocess.run(["mount", "-o", "remount,size=3m", str(folder)], check=True)
    done = write_dataset(*command)
    assert (done.returncode, done.stderr) == (0, "")
    fresh = write_dataset(f"source.path={pets}", "output.folder=fresh", *options)
    assert fresh.returncode == 0, fresh.stderr
    assert names(folder) == ["train.beton", "val.beton"]
    for name in names(folder):
        assert (folder / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_too_small_disk_is_refused_before_writing(
    write_dataset: Run, pets: Path, mounted: Callable[..., Path], tmp_path: Path
) -> None:
    for number in range(1000):
        os.link(pets / "train/cat/005.jpg", pets / f"train/dog/more{number}.jpg")
    folder = mounted("size=1m")
    options = ["output.format=raw", "output.page_size=2", "output.num_workers=1"]
    result = write_dataset(f"source.path={pets}", f"output.folder={folder}", *options)
    # 1,000 images of 90 x 120 pixels.
    _refused(result, f"{folder} has only 1.0 MB free, and the files need about 3", " MB", "free some space")
    assert names(folder) == []
    result = write_dataset(f"source.path={pets}", "output.folder=out", *options)
    assert (result.returncode, result.stderr) == (0, "")
    assert "1,047 images need about 3" in result.stdout and "left to convert\n" in result.stdout


def test_damage_inside_kept_jpeg_is_found_by_jpeg_check(
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
