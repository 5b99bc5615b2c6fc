"""The files hold what the source holds, the same bytes for any number of workers, or they do not exist."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.config.write import OutputConfig, SourceConfig
from engine.data.beton.writer import PageCursor
from engine.data.convert.conversion_plan import choose_modes
from engine.data.decode.pillow_pixels import decode_rgb
from engine.data.sources import open_split
from engine.data.storage import JPEG, RAW
from engine.errors import UserError
from tests.data.conversions import convert_and_open, stored_pixels


@pytest.mark.parametrize("mode", ["jpeg", "raw", "proportion"])
@pytest.mark.parametrize("order", ["shuffled", "source"])
def test_round_trip(pets: Path, tmp_path: Path, mode: str, order: str) -> None:
    source = open_split(SourceConfig(path=str(pets)), "train")
    beton, _ = convert_and_open(pets, tmp_path / "out", format=mode, jpeg_quality=95, order=order)
    assert beton.num_samples == 40 and beton.manifest is not None
    numbers = beton.manifest.source_numbers
    assert sorted(numbers) == list(range(40))
    assert (list(numbers) == list(range(40))) == (order == "source")
    assert beton.manifest.order == order
    for index, number in enumerate(numbers):
        assert beton.labels[index] == source.labels[number]
        assert beton.manifest.ids[index] == source.ids[number]
        content = source.read(number)
        assert isinstance(content, bytes)
        expected, found = decode_rgb(content), stored_pixels(beton, index)
        assert found.shape == expected.shape
        if beton.images[index]["mode"] == RAW.mode:
            np.testing.assert_array_equal(found, expected)
        else:
            error = np.abs(found.astype(float) - expected)
            assert error.mean() < 8, "JPEG at quality 95 stays near the original"


@pytest.mark.parametrize(("mode", "expected"), [("jpeg", {0}), ("raw", {1}), ("proportion", {0, 1})])
def test_format_decides_the_storage_modes(pets: Path, tmp_path: Path, mode: str, expected: set[int]) -> None:
    beton, _ = convert_and_open(pets, tmp_path / "out", format=mode)
    assert set(beton.images["mode"].tolist()) == expected
    assert beton.manifest is not None
    raw = int((beton.images["mode"] == RAW.mode).sum())
    assert beton.manifest.counts == {"samples": 40, "jpeg": 40 - raw, "raw": raw, "yuv420": 0}
    assert beton.storage == mode


def test_manifest_describes_the_file(pets: Path, tmp_path: Path) -> None:
    train, val = convert_and_open(
        pets, tmp_path / "out", max_resolution=50, jpeg_quality=80, seed=3, order="source", license="CC0"
    )
    manifest = train.manifest
    assert manifest is not None and val.manifest is not None
    assert manifest.classes == val.manifest.classes == ("cat", "dog")
    assert (manifest.split, val.manifest.split) == ("train", "val")
    assert manifest.ids == tuple(
        [f"cat/{i:03d}.jpg" for i in range(25)] + [f"dog/{i:03d}.jpg" for i in range(15)]
    )
    assert manifest.settings["max_resolution"] == 50
    assert manifest.settings["jpeg_quality"] == 80
    assert (manifest.order, manifest.shard, manifest.license) == ("source", "", "CC0")
    assert manifest.rules["damaged"] == "fail" and manifest.rules["cmyk"] == "repair"
    assert set(manifest.versions) == {"encoder", "engine", "ffcv", "numpy", "opencv", "pillow"}
    assert (manifest.source, manifest.created_by) == ("image folder", "write_dataset.py")
    assert train.num_classes == 2
    assert int(max(train.images["width"].max(), train.images["height"].max())) == 50


@pytest.mark.parametrize("mode", ["jpeg", "proportion"])
def test_number_of_workers_changes_no_byte(pets: Path, tmp_path: Path, mode: str) -> None:
    # Many more images than are ever under way at once, and of different cost.
    for i in range(300):
        shutil.copy(pets / f"train/cat/{i % 25:03d}.jpg", pets / f"train/dog/more{i}.jpg")
    files = []
    for workers in (1, 2, 3):
        train, val = convert_and_open(pets, tmp_path / str(workers), format=mode, num_workers=workers)
        files.append((train.path.read_bytes(), val.path.read_bytes()))
    assert files[0] == files[1] == files[2]


def test_paths_of_source_and_output_change_no_byte(pets: Path, tmp_path: Path) -> None:
    first, _ = convert_and_open(pets, tmp_path / "one")
    moved = pets.rename(tmp_path / "moved")
    second, _ = convert_and_open(moved, tmp_path / "two")
    assert first.path.read_bytes() == second.path.read_bytes()


def test_modes_follow_seed_and_share() -> None:
    def modes(seed: int, share: float, count: int = 4000) -> NDArray[np.uint8]:
        return choose_modes(count, OutputConfig(format="proportion", seed=seed, compress_probability=share))

    np.testing.assert_array_equal(modes(0, 0.3), modes(0, 0.3))
    np.testing.assert_array_equal(modes(0, 0.3)[:100], modes(0, 0.3, 100))
    assert (modes(0, 0.3) != modes(1, 0.3)).any()
    assert abs((modes(0, 0.3) == JPEG.mode).mean() - 0.3) < 0.03
    assert set(modes(0, 0.0)) == {RAW.mode}
    assert set(modes(0, 1.0)) == {JPEG.mode}


def test_seed_decides_the_order(pets: Path, tmp_path: Path) -> None:
    orders = []
    for place, seed in enumerate((0, 0, 1)):
        train, _ = convert_and_open(pets, tmp_path / str(place), seed=seed)
        assert train.manifest is not None
        orders.append(train.manifest.source_numbers)
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("order", ["shuffled", "source"])
def test_subset_is_drawn_by_seed(pets: Path, tmp_path: Path, order: str) -> None:
    source, chosen = open_split(SourceConfig(path=str(pets)), "train"), []
    for place, seed in enumerate((0, 0, 1)):
        train, val = convert_and_open(pets, tmp_path / str(place), subset=20, seed=seed, order=order)
        assert train.manifest is not None
        assert (train.num_samples, val.num_samples) == (20, 7)
        ids = train.manifest.ids
        assert list(ids) == [source.ids[number] for number in train.manifest.source_numbers]
        assert (list(ids) == sorted(ids)) == (order == "source")
        assert [train.manifest.classes[label] for label in train.labels] == [i[:3] for i in ids]
        chosen.append(ids)
    assert chosen[0] == chosen[1] != chosen[2]


def test_no_record_crosses_a_page(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    # 11 raw images of 540,000 bytes: three to a page of 2 MiB, and 477,152 bytes left over in each.
    image = cv2.imencode(".png", np.full((400, 450, 3), 77, np.uint8))[1].tobytes()
    root = make_tree({s: {"k": {f"{i}.png": image for i in range(11)}} for s in ("train", "val")})
    beton, _ = convert_and_open(root, tmp_path / "out", format="raw", page_size=2)
    page = 2 * 2**20
    first, last = beton.images["data_ptr"] // page, (beton.images["data_ptr"] + beton.sizes - 1) // page
    np.testing.assert_array_equal(first, last)
    assert first.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4]
    assert (beton.images["data_ptr"][::3] % page == 0).all()
    for index in range(11):
        assert (stored_pixels(beton, index) == 77).all()


def test_page_cursor_fills_pages_to_the_last_byte() -> None:
    cursor = PageCursor(offset=16, page_size=8)
    assert [cursor.place(size) for size in (5, 3, 8, 1, 8, 7, 1)] == [16, 21, 24, 32, 40, 48, 55]


def test_image_larger_than_a_page_leaves_no_file(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    image = cv2.imencode(".png", np.zeros((1000, 1000, 3), np.uint8))[1].tobytes()
    root = make_tree({s: {"k": {"big.png": image}} for s in ("train", "val")})
    with pytest.raises(
        UserError, match=r"cannot use image .*big\.png: it takes 3000000 bytes, more than a page"
    ):
        convert_and_open(root, tmp_path / "out", format="raw", page_size=2, max_resolution=0)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_image_leaves_neither_file(workers: int, make_tree: Callable[..., Path], tmp_path: Path) -> None:
    good = np.zeros((8, 8, 3), np.uint8)
    root = make_tree({"train": {"k": {"1.jpg": good}}, "val": {"k": {"1.jpg": good, "2.jpg": b""}}})
    with pytest.raises(UserError, match=r"cannot use image .*val/k/2\.jpg.*: pass --rules\."):
        convert_and_open(root, tmp_path / "out", num_workers=workers)
    assert list((tmp_path / "out").iterdir()) == []


def test_different_classes_are_refused_before_writing(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    root = make_tree({"train": {"a": {"1.jpg": image}}, "val": {"b": {"1.jpg": image}}})
    with pytest.raises(UserError, match="only in train: 'a'; only in val: 'b'"):
        convert_and_open(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_existing_files_are_replaced_only_on_request(pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "val.beton").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"val\.beton exists already: .*--output\.overwrite=true"):
        convert_and_open(pets, out)
    assert [path.name for path in out.iterdir()] == ["val.beton"]
    assert (out / "val.beton").read_bytes() == b"precious"
    train, val = convert_and_open(pets, out, overwrite=True)
    assert (train.num_samples, val.num_samples) == (40, 7)


def test_failed_overwrite_keeps_the_old_files(pets: Path, tmp_path: Path) -> None:
    train, val = convert_and_open(pets, tmp_path / "out")
    before = train.path.read_bytes(), val.path.read_bytes()
    (pets / "train/dog/zzz.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"zzz\.jpg"):
        convert_and_open(pets, tmp_path / "out", overwrite=True, format="raw")
    assert (train.path.read_bytes(), val.path.read_bytes()) == before


def test_leftovers_of_dead_conversions_are_removed(pets: Path, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    out = tmp_path / "out"
    out.mkdir()
    stays = [f"train.beton.partial-{os.getppid()}", "train.beton.partial-x", "other.beton.partial-1"]
    for name in [f"train.beton.partial-{ended.pid}", f"val.beton.partial-{ended.pid}", *stays]:
        (out / name).touch()
    convert_and_open(pets, out)
    assert sorted(path.name for path in out.iterdir()) == sorted([*stays, "train.beton", "val.beton"])


def test_notes_and_summary_of_each_file_are_printed(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pets / "val/dog/readme.txt").touch()
    (pets / "train/dog/nothing.jpg").touch()
    convert_and_open(pets, tmp_path / "out", {"empty": "skip"}, format="proportion")
    said = capsys.readouterr().out.splitlines()
    # The images of 1 x 1 pixel are copies of each other in both classes.
    lines = [line for line in said if not line.startswith("  warning: ")]
    assert "same content as one of another class" in next(line for line in said if line not in lines)
    assert lines[0] == "note: val: ignored 1 files that are not images, such as dog/readme.txt"
    assert lines[1].startswith(f"wrote {tmp_path}/out/train.beton: 40 images (")
    assert " raw), 2 classes, " in lines[1]
    assert "/s, limited by " in lines[2]
    assert "empty 1" in lines[3] and lines[3].endswith("; 1 left out")
    assert f"`python -m engine inspect {tmp_path}/out/train.beton` lists them" in lines[4]
    assert lines[5].startswith(f"wrote {tmp_path}/out/val.beton: 7 images (")
    assert len(lines) == 8, "val has no rejects; its odd images are those of the same content"
