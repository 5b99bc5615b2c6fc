"""The files hold what the source holds, the same bytes for any number of workers, or they do not exist."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.config.write import OutputConfig, SourceConfig
from engine.data.beton.reader import Beton, open_beton
from engine.data.beton.writer import PageCursor
from engine.data.convert.plan import choose_modes
from engine.data.sources import open_split
from engine.data.sources.access.pixels import decode_rgb
from engine.data.storage import JPEG, RAW
from engine.errors import UserError
from tests.data.conversions import convert_here


def _convert(
    source: Path, folder: Path, rules: dict[str, str] | None = None, **output: Any
) -> tuple[Beton, Beton]:
    """The train and val files, opened."""
    paths = convert_here(source, folder, rules, **output)
    return open_beton(paths["train"]), open_beton(paths["val"])


def _pixels(beton: Beton, index: int) -> NDArray[np.uint8]:
    """The stored image, RGB."""
    image, size = beton.images[index], int(beton.sizes[index])
    start = int(image["data_ptr"])
    record = np.array(beton.memory()[start : start + size])
    if image["mode"] == RAW.mode:
        return record.reshape(image["height"], image["width"], 3)
    bgr = cv2.imdecode(record, cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.ascontiguousarray(bgr[:, :, ::-1]).astype(np.uint8)


@pytest.mark.parametrize("mode", ["jpeg", "raw", "proportion"])
@pytest.mark.parametrize("order", ["shuffled", "source"])
def test_round_trip(pets: Path, tmp_path: Path, mode: str, order: str) -> None:
    source = open_split(SourceConfig(path=str(pets)), "train")
    beton, _ = _convert(pets, tmp_path / "out", format=mode, jpeg_quality=95, order=order)
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
        expected, found = decode_rgb(content), _pixels(beton, index)
        assert found.shape == expected.shape
        if beton.images[index]["mode"] == RAW.mode:
            np.testing.assert_array_equal(found, expected)
        else:
            error = np.abs(found.astype(float) - expected)
            assert error.mean() < 8, "JPEG at quality 95 stays near the original"


@pytest.mark.parametrize(("mode", "expected"), [("jpeg", {0}), ("raw", {1}), ("proportion", {0, 1})])
def test_the_format_decides_the_storage_modes(
    pets: Path, tmp_path: Path, mode: str, expected: set[int]
) -> None:
    beton, _ = _convert(pets, tmp_path / "out", format=mode)
    assert set(beton.images["mode"].tolist()) == expected
    assert beton.manifest is not None
    raw = int((beton.images["mode"] == RAW.mode).sum())
    assert beton.manifest.counts == {"samples": 40, "jpeg": 40 - raw, "raw": raw, "yuv420": 0}
    assert beton.storage == mode


def test_the_file_says_what_it_is(pets: Path, tmp_path: Path) -> None:
    train, val = _convert(
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
def test_the_number_of_workers_does_not_change_a_byte(pets: Path, tmp_path: Path, mode: str) -> None:
    # Many more images than are ever under way at once, and of different cost.
    for i in range(300):
        shutil.copy(pets / f"train/cat/{i % 25:03d}.jpg", pets / f"train/dog/more{i}.jpg")
    files = []
    for workers in (1, 2, 3):
        train, val = _convert(pets, tmp_path / str(workers), format=mode, num_workers=workers)
        files.append((train.path.read_bytes(), val.path.read_bytes()))
    assert files[0] == files[1] == files[2]


def test_where_source_and_output_lie_does_not_change_a_byte(pets: Path, tmp_path: Path) -> None:
    first, _ = _convert(pets, tmp_path / "one")
    moved = pets.rename(tmp_path / "moved")
    second, _ = _convert(moved, tmp_path / "two")
    assert first.path.read_bytes() == second.path.read_bytes()


def test_the_choice_of_modes_follows_seed_and_share() -> None:
    def modes(seed: int, share: float, count: int = 4000) -> NDArray[np.uint8]:
        return choose_modes(count, OutputConfig(format="proportion", seed=seed, compress_probability=share))

    np.testing.assert_array_equal(modes(0, 0.3), modes(0, 0.3))
    np.testing.assert_array_equal(modes(0, 0.3)[:100], modes(0, 0.3, 100))
    assert (modes(0, 0.3) != modes(1, 0.3)).any()
    assert abs((modes(0, 0.3) == JPEG.mode).mean() - 0.3) < 0.03
    assert set(modes(0, 0.0)) == {RAW.mode}
    assert set(modes(0, 1.0)) == {JPEG.mode}


def test_the_seed_decides_the_order(pets: Path, tmp_path: Path) -> None:
    orders = []
    for place, seed in enumerate((0, 0, 1)):
        train, _ = _convert(pets, tmp_path / str(place), seed=seed)
        assert train.manifest is not None
        orders.append(train.manifest.source_numbers)
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("order", ["shuffled", "source"])
def test_a_subset_is_drawn_by_seed(pets: Path, tmp_path: Path, order: str) -> None:
    source, chosen = open_split(SourceConfig(path=str(pets)), "train"), []
    for place, seed in enumerate((0, 0, 1)):
        train, val = _convert(pets, tmp_path / str(place), subset=20, seed=seed, order=order)
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
    beton, _ = _convert(root, tmp_path / "out", format="raw", page_size=2)
    page = 2 * 2**20
    first, last = beton.images["data_ptr"] // page, (beton.images["data_ptr"] + beton.sizes - 1) // page
    np.testing.assert_array_equal(first, last)
    assert first.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4]
    assert (beton.images["data_ptr"][::3] % page == 0).all()
    for index in range(11):
        assert (_pixels(beton, index) == 77).all()


def test_the_cursor_fills_pages_to_the_last_byte() -> None:
    cursor = PageCursor(offset=16, page_size=8)
    assert [cursor.place(size) for size in (5, 3, 8, 1, 8, 7, 1)] == [16, 21, 24, 32, 40, 48, 55]


def test_an_image_larger_than_a_page_leaves_nothing(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    image = cv2.imencode(".png", np.zeros((1000, 1000, 3), np.uint8))[1].tobytes()
    root = make_tree({s: {"k": {"big.png": image}} for s in ("train", "val")})
    with pytest.raises(
        UserError, match=r"cannot use image .*big\.png: it takes 3000000 bytes, more than a page"
    ):
        _convert(root, tmp_path / "out", format="raw", page_size=2, max_resolution=0)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_image_leaves_neither_file(
    workers: int, make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    good = np.zeros((8, 8, 3), np.uint8)
    root = make_tree({"train": {"k": {"1.jpg": good}}, "val": {"k": {"1.jpg": good, "2.jpg": b""}}})
    with pytest.raises(UserError, match=r"cannot use image .*val/k/2\.jpg.*: remove it, or pass --rules\."):
        _convert(root, tmp_path / "out", num_workers=workers)
    assert list((tmp_path / "out").iterdir()) == []


def test_different_classes_are_refused_before_anything_is_written(
    make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    root = make_tree({"train": {"a": {"1.jpg": image}}, "val": {"b": {"1.jpg": image}}})
    with pytest.raises(UserError, match="only in train: 'a'; only in val: 'b'"):
        _convert(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_existing_files_are_replaced_only_on_request(pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "val.beton").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"val\.beton is there already: .*--output\.overwrite=true"):
        _convert(pets, out)
    assert [path.name for path in out.iterdir()] == ["val.beton"]
    assert (out / "val.beton").read_bytes() == b"precious"
    train, val = _convert(pets, out, overwrite=True)
    assert (train.num_samples, val.num_samples) == (40, 7)


def test_a_failed_overwrite_keeps_the_old_files(pets: Path, tmp_path: Path) -> None:
    train, val = _convert(pets, tmp_path / "out")
    before = train.path.read_bytes(), val.path.read_bytes()
    (pets / "train/dog/zzz.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"zzz\.jpg"):
        _convert(pets, tmp_path / "out", overwrite=True, format="raw")
    assert (train.path.read_bytes(), val.path.read_bytes()) == before


def test_what_dead_conversions_left_is_removed_and_nothing_else(pets: Path, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    out = tmp_path / "out"
    out.mkdir()
    stays = [f"train.beton.partial-{os.getppid()}", "train.beton.partial-x", "other.beton.partial-1"]
    for name in [f"train.beton.partial-{ended.pid}", f"val.beton.partial-{ended.pid}", *stays]:
        (out / name).touch()
    _convert(pets, out)
    assert sorted(path.name for path in out.iterdir()) == sorted([*stays, "train.beton", "val.beton"])


def test_notes_and_a_summary_of_each_file_are_printed(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pets / "val/dog/readme.txt").touch()
    (pets / "train/dog/nothing.jpg").touch()
    _convert(pets, tmp_path / "out", {"empty": "skip"}, format="proportion")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "val: passed over 1 files that are not images, such as dog/readme.txt"
    assert lines[1].startswith(f"wrote {tmp_path}/out/train.beton: 40 images (")
    assert " raw), 2 classes, " in lines[1]
    assert "/s, limited by " in lines[2]
    assert "empty 1" in lines[3] and lines[3].endswith("; 1 left out")
    assert f"`python -m engine inspect {tmp_path}/out/train.beton` lists them" in lines[4]
    assert lines[5].startswith(f"wrote {tmp_path}/out/val.beton: 7 images (")
    assert len(lines) == 8, "val has no rejects; its odd images are those of the same content"


# --- rules


def _tree_of_copies(make_tree: Callable[..., Path]) -> Path:
    """a, b, c and an empty file; train has a and b twice, and a is in val as well."""
    a, b, c = (np.full((8, 8, 3), value, np.uint8) for value in (10, 90, 200))
    files = {"1a.png": a, "2b.png": b, "3a.png": a, "4b.png": b, "5c.png": c}
    pictures = {name: cv2.imencode(".png", pixels)[1].tobytes() for name, pixels in files.items()}
    train = {**pictures, "6.png": b""}
    return make_tree({"train": {"k": train}, "val": {"k": {"v.png": pictures["1a.png"]}}})


def test_a_skipped_image_is_listed_with_its_reason_and_leaves_no_gap(
    make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = _tree_of_copies(make_tree)
    train, _ = _convert(root, tmp_path / "out", {"empty": "skip"}, format="raw", order="source")
    manifest = train.manifest
    assert manifest is not None
    assert manifest.ids == ("k/1a.png", "k/2b.png", "k/3a.png", "k/4b.png", "k/5c.png")
    assert manifest.source_numbers == (0, 1, 2, 3, 4)
    ((name, kind, reason),) = manifest.rejects
    assert (name, kind) == ("k/6.png", "empty") and reason
    assert manifest.counts["samples"] == train.num_samples == 5
    assert [_pixels(train, index)[0, 0, 0] for index in range(5)] == [10, 90, 10, 90, 200]


def test_copies_are_counted_and_named_where_they_are_kept(
    make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = _tree_of_copies(make_tree)
    train, val = _convert(root, tmp_path / "out", {"empty": "skip"}, format="raw", order="source")
    assert train.manifest is not None and val.manifest is not None
    assert train.manifest.duplicates == (
        ("k/1a.png", "val: k/v.png"),
        ("k/3a.png", "val: k/v.png"),
        ("k/3a.png", "k/1a.png"),
        ("k/4b.png", "k/2b.png"),
    )
    assert {kind: train.manifest.odd[kind] for kind in ("duplicate", "leak")} == {"duplicate": 2, "leak": 2}
    assert val.manifest.duplicates == () and "leak" not in val.manifest.odd


@pytest.mark.parametrize(
    ("rules", "ids", "kinds"),
    [
        ({"duplicate": "skip"}, "1 2 5", "duplicate duplicate empty"),
        ({"leak": "skip"}, "2 4 5", "leak leak empty"),
        ({"duplicate": "skip", "leak": "skip"}, "2 5", "leak leak duplicate empty"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_copies_are_left_out_in_file_order(
    make_tree: Callable[..., Path], tmp_path: Path, rules: dict[str, str], ids: str, kinds: str, workers: int
) -> None:
    root = _tree_of_copies(make_tree)
    rules = {"empty": "skip"} | rules
    train, _ = _convert(root, tmp_path / "out", rules, format="raw", order="source", num_workers=workers)
    assert train.manifest is not None
    assert [name[2] for name in train.manifest.ids] == ids.split()
    assert [kind for _, kind, _ in train.manifest.rejects] == kinds.split()
    values = {"1": 10, "2": 90, "3": 10, "4": 90, "5": 200}
    assert [_pixels(train, i)[0, 0, 0] for i in range(train.num_samples)] == [values[i] for i in ids.split()]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "duplicate",
            r"train/k/3a\.png: it has the same content as k/1a\.png: remove it, or pass --rules\.dup",
        ),
        (
            "leak",
            r"train/k/1a\.png: it has the same content as val: k/v\.png: remove it, or pass --rules\.leak=",
        ),
    ],
)
def test_copies_end_the_conversion_by_rule(
    make_tree: Callable[..., Path], tmp_path: Path, rule: str, expected: str
) -> None:
    root = _tree_of_copies(make_tree)
    with pytest.raises(UserError, match=expected):
        _convert(root, tmp_path / "out", {"empty": "skip", rule: "fail"}, order="source")


def test_a_split_of_which_nothing_is_left_is_refused(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    good = np.zeros((8, 8, 3), np.uint8)
    root = make_tree({"train": {"k": {"1.jpg": good}}, "val": {"k": {"1.jpg": b"", "2.jpg": b""}}})
    with pytest.raises(UserError, match=r"all 2 images of val were left out by rules\.\(empty\)"):
        _convert(root, tmp_path / "out", {"empty": "skip"})


# --- shards


@pytest.mark.parametrize("mode", ["jpeg", "proportion"])
def test_shards_one_after_the_other_are_the_whole(pets: Path, tmp_path: Path, mode: str) -> None:
    for split in ("train", "val"):
        (pets / split / "dog/empty.jpg").touch()
    options: dict[str, Any] = {"format": mode, "subset": 30, "seed": 5}
    whole, _ = _convert(pets, tmp_path / "whole", {"empty": "skip"}, **options)
    shards = [_convert(pets, tmp_path, {"empty": "skip"}, shard=f"{i}/3", **options)[0] for i in (1, 2, 3)]
    assert [shard.path.name for shard in shards] == [f"train.{i}-of-3.beton" for i in (1, 2, 3)]
    manifests = [shard.manifest for shard in shards]
    assert whole.manifest is not None
    assert [m.shard for m in manifests if m] == ["1/3", "2/3", "3/3"]
    for name in ("ids", "source_numbers", "rejects"):
        parts = [item for m in manifests for item in getattr(m, name)]
        assert parts == list(getattr(whole.manifest, name)), name
    records = [_record(shard, index) for shard in shards for index in range(shard.num_samples)]
    assert records == [_record(whole, index) for index in range(whole.num_samples)]
    for name in ("images", "labels", "checksums"):
        together = np.concatenate([getattr(shard, name) for shard in shards])
        expected = getattr(whole, name).copy()
        if name == "images":
            together["data_ptr"] = expected["data_ptr"] = 0
        np.testing.assert_array_equal(together, expected)


def _record(beton: Beton, index: int) -> bytes:
    start = int(beton.images["data_ptr"][index])
    return beton.memory()[start : start + int(beton.sizes[index])].tobytes()


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/0", "a/b", "1/3/5", "-1/3"])
def test_a_shard_that_is_none(pets: Path, tmp_path: Path, shard: str) -> None:
    with pytest.raises(UserError, match=r"output\.shard: .* is not i/n with i from 1 to n, such as 1/8"):
        _convert(pets, tmp_path / "out", shard=shard)
    assert not (tmp_path / "out").exists()


def test_a_shard_without_images(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="val has only 7 images: use fewer shards"):
        _convert(pets, tmp_path / "out", shard="1/8")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rule", ["duplicate", "leak"])
def test_a_shard_cannot_look_for_copies(pets: Path, tmp_path: Path, rule: str) -> None:
    with pytest.raises(UserError, match=r"need all images, and --output\.shard has only some"):
        _convert(pets, tmp_path / "out", {rule: "skip"}, shard="1/2")
    assert not (tmp_path / "out").exists()
