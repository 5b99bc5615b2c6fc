"""`python -m engine merge`: shards make the unsharded file, other files stay what they are, the rest is refused."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from engine.cli.merge import main
from engine.config.write import OutputConfig, RulesConfig, SourceConfig, WriteConfig
from engine.data.beton.direct_file import bytes_on_disk
from engine.data.beton.reader import Beton, open_beton
from engine.data.convert.conversion import convert
from engine.data.edit.merge import merge
from engine.data.edit.verify import verify
from engine.data.storage import JPEG, YUV420
from engine.errors import UserError
from tests.data.betons import drop_checksums, overwrite, record
from tests.data.conftest import jpeg_bytes, photo, write_tree
from tests.data.made import make


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, 25 training images of several sizes, of which one is gray and one empty."""
    files: dict[str, dict[str, object]] = {name: {} for name in ("ant", "bee", "cow")}
    for number in range(23):
        name = ("ant", "bee", "cow")[number % 3]
        files[name][f"{number:03d}.jpg"] = jpeg_bytes(photo(20 + number, 30 + 3 * number, number))
    files["bee"]["empty.jpg"] = b""
    files["cow"]["gray.jpg"] = cv2.imencode(".jpg", photo(40, 40, 99)[:, :, 0])[1].tobytes()
    val = {name: {f"{i}.jpg": photo(10 + seed, 10 + i) for i in (0, 1)} for seed, name in enumerate(files)}
    return write_tree(tmp_path_factory.mktemp("shards") / "source", {"train": files, "val": val})  # type: ignore[dict-item]


def converted(source: Path, folder: Path, shard: str = "", **output: Any) -> Path:
    """train.beton, or a shard of it."""
    options = OutputConfig(folder=str(folder), num_workers=1, page_size=2, shard=shard, **output)
    rules = RulesConfig(empty="skip")
    return convert(WriteConfig(source=SourceConfig(path=str(source)), output=options, rules=rules))["train"]


@pytest.mark.parametrize(
    ("parts", "output"),
    [
        (1, {}),
        (2, {"format": "yuv420", "short_side": 24}),
        (3, {"format": "proportion", "order": "source"}),
        (3, {"format": "raw", "subset": 17, "license": "none"}),
    ],
)
def test_merged_shards_equal_the_unsharded_file(
    source: Path, tmp_path: Path, parts: int, output: dict[str, Any]
) -> None:
    whole = converted(source, tmp_path / "whole", **output)
    # Given in any order.
    shards = [converted(source, tmp_path, f"{part}/{parts}", **output) for part in range(parts, 0, -1)]
    merge(tmp_path / "merged.beton", shards)
    assert (tmp_path / "merged.beton").read_bytes() == whole.read_bytes()
    if "subset" not in output:
        said = open_beton(whole).manifest
        assert said is not None and said.odd == {"empty": 1, "grayscale": 1} and len(said.rejects) == 1


def test_missing_shards_are_refused_unless_partial(source: Path, tmp_path: Path) -> None:
    shards = [converted(source, tmp_path, f"{part}/4") for part in (4, 2)]
    with pytest.raises(UserError, match=r"shards 1, 3 are missing: add them, or pass --partial"):
        main([str(tmp_path / "x.beton"), *map(str, shards)])
    assert main(["--partial", str(tmp_path / "x.beton"), *map(str, shards)]) == 0
    merged, parts = open_beton(tmp_path / "x.beton"), [open_beton(path) for path in reversed(shards)]
    assert merged.manifest is not None and merged.manifest.shard == "2+4/4"
    assert contents(merged) == [content for part in parts for content in contents(part)]
    with pytest.raises(UserError, match=r"holds shards 2\+4/4, merged already"):
        merge(tmp_path / "y.beton", [tmp_path / "x.beton", converted(source, tmp_path, "1/4")])


def contents(beton: Beton) -> list[tuple[str, int, bytes]]:
    """(id, label, record) of each image."""
    assert beton.manifest is not None
    return [
        (name, int(beton.labels[sample]), record(beton, sample))
        for sample, name in enumerate(beton.manifest.ids)
    ]


def test_incompatible_shards_are_refused(source: Path, tmp_path: Path) -> None:
    one, two = (converted(source, tmp_path / "a", f"{part}/2") for part in (1, 2))
    other = converted(source, tmp_path / "b", "2/2", seed=1)
    of_three = converted(source, tmp_path / "b", "2/3")
    plain = converted(source, tmp_path / "b")
    again = tmp_path / "again.beton"
    again.write_bytes(two.read_bytes())
    for inputs, words in (
        ([one, two, again], "are both shard 2/2: leave one out"),
        ([one, other], "were converted with different settings"),
        ([one, of_three], "the shards are of 2 and 3 parts"),
        ([one, two, plain], "holds no shard, and others are shards"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            merge(tmp_path / "x.beton", inputs)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("x.beton*"))


@pytest.mark.parametrize("order", ["source", "shuffled"])
def test_shards_of_different_copies_of_the_source_are_refused(
    source: Path, tmp_path: Path, order: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    one = converted(source, tmp_path, "1/2", order=order)
    # The other machine's copy is the same: its times and place are not asked for.
    two = converted(copy, tmp_path, "2/2", order=order)
    merge(tmp_path / "merged.beton", [one, two])
    whole = converted(source, tmp_path / "whole", order=order)
    assert (tmp_path / "merged.beton").read_bytes() == whole.read_bytes()
    said = f"{one} and {two} were made of different copies of the data set: "
    (copy / "train/ant/000.jpg").rename(copy / "train/bee/x.jpg")
    converted(copy, tmp_path, "2/2", order=order, overwrite=True)
    with pytest.raises(UserError, match=re.escape(f"{said}their 25 images have not the same ids or labels")):
        merge(tmp_path / "x.beton", [two, one])
    for number in (4, 7, 10, 13):
        (copy / f"train/bee/{number:03d}.jpg").unlink()
    converted(copy, tmp_path, "2/2", order=order, overwrite=True)
    counts = "that of the first has 25 images, that of the second 21: convert both from the same one"
    with pytest.raises(UserError, match=re.escape(f"{said}{counts}")) as caught:
        merge(tmp_path / "x.beton", [two, one])
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("x.beton*"))


def test_shards_of_earlier_versions_merge_without_source_digest(tmp_path: Path) -> None:
    said: list[dict[str, Any]] = [{}, {"found": 6, "found_digest": "a"}, {"found": 6, "found_digest": "a"}]
    paths = [
        make(tmp_path / f"{part}.beton", [0, 1], first_id=2 * part, shard=f"{part + 1}/3", **one).path
        for part, one in enumerate(said)
    ]
    assert merge(tmp_path / "x.beton", paths).file.samples == 6
    merged = open_beton(tmp_path / "x.beton").manifest
    assert merged is not None and (merged.found, merged.found_digest) == (0, "")


def test_files_of_different_conversions_are_concatenated(tmp_path: Path) -> None:
    first = make(
        tmp_path / "1.beton",
        [0, 2, 1],
        rejects=(("x", "empty", "it is empty"),),
        odd={"empty": 1},
        versions={"engine": "1", "pillow": "9"},
        license="A",
    )
    second = make(
        tmp_path / "2.beton",
        [1, 1],
        mode=JPEG.mode,
        first_id=3,
        settings={"format": "jpeg", "seed": 0, "jpeg_quality": 90},
        counts={"samples": 2, "jpeg": 2},
        odd={"empty": 2, "cmyk": 1},
        versions={"engine": "2", "pillow": "9"},
        license="B",
    )
    done = merge(tmp_path / "x.beton", [first.path, second.path]).file
    merged = open_beton(tmp_path / "x.beton")
    assert (done.samples, done.bytes) == (5, bytes_on_disk(merged.path.stat()))
    assert contents(merged) == contents(first) + contents(second)
    assert merged.storage == "proportion" and not verify(merged).bad
    said = merged.manifest
    assert said is not None
    assert said.settings == {
        "seed": 0,
        "merged": [{"samples": 3, "format": "raw"}, {"samples": 2, "format": "jpeg", "jpeg_quality": 90}],
    }
    assert said.counts == {"samples": 5, "raw": 3, "jpeg": 2}
    assert said.odd == {"empty": 3, "cmyk": 1}
    assert said.rejects == (("x", "empty", "it is empty"),)
    assert said.versions == {"engine": "1, 2", "pillow": "9"}
    assert (said.license, said.order, said.source_numbers) == ("A, B", "merged", ())


def test_merged_file_of_several_pages_keeps_contents(tmp_path: Path) -> None:
    # Images of 750 kB: two to a page of 2 MiB.
    betons = [make(tmp_path / f"{i}.beton", [0, 1, 2], side=500, first_id=3 * i) for i in range(2)]
    merge(tmp_path / "x.beton", [beton.path for beton in betons])
    merged = open_beton(tmp_path / "x.beton")
    assert contents(merged) == contents(betons[0]) + contents(betons[1])
    pages = (merged.images["data_ptr"] // 2**21).tolist()
    assert [page - pages[0] for page in pages] == [0, 0, 1, 1, 2, 2]


def test_incompatible_files_are_refused(tmp_path: Path) -> None:
    first = make(tmp_path / "1.beton", [0, 1])
    yuv = [
        make(tmp_path / f"y{side}.beton", [0], mode=YUV420.mode, limits=(side, 0), first_id=9)
        for side in (256, 300)
    ]
    others: dict[str, dict[str, object]] = {
        "1.beton and .*2.beton: only in the first: 'c'": {"classes": ("a", "b")},
        "label 0 is 'a' in the first and 'b' in the second": {"classes": ("b", "a", "c")},
        "are of the splits train and val": {"split": "val"},
        "both hold the image '0001': leave one out": {"first_id": 1},
        "names no classes": {"named": False},
        "stores raw and .* yuv420: yuv420 merges only with yuv420": {"mode": YUV420.mode},
    }
    for words, options in others.items():
        second = make(tmp_path / "2.beton", [1], **({"first_id": 5} | options))  # type: ignore[arg-type]
        with pytest.raises(UserError, match=words) as caught:
            merge(tmp_path / "x.beton", [first.path, second.path])
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"shrunk to different sizes .*\(256, 0\) and \(300, 0\)"):
        merge(tmp_path / "x.beton", [beton.path for beton in yuv])
    with pytest.raises(UserError, match="is there already"):
        merge(first.path, [first.path])
    with pytest.raises(UserError, match="does not exist"):
        merge(tmp_path / "none" / "x.beton", [first.path])
    assert not list(tmp_path.glob("x.beton*"))


def test_files_without_names_get_only_checksums(tmp_path: Path) -> None:
    betons = [make(tmp_path / f"{i}.beton", [i, 5], named=False, first_id=i) for i in range(2)]
    drop_checksums(betons[0].path)
    merge(tmp_path / "x.beton", [beton.path for beton in betons])
    merged = open_beton(tmp_path / "x.beton")
    assert merged.manifest is None and merged.checksums is not None
    assert merged.labels.tolist() == [0, 5, 1, 5] and not verify(merged).bad


def test_damaged_record_ends_merge_and_leaves_no_file(tmp_path: Path) -> None:
    betons = [make(tmp_path / f"{i}.beton", [0, 1, 2], first_id=3 * i) for i in range(2)]
    overwrite(betons[1], 2, bytes([record(betons[1], 2)[8] ^ 255]), offset=8)
    with pytest.raises(
        UserError, match=r"1\.beton: sample 2 \(0005\) can't be copied: its bytes have changed"
    ):
        merge(tmp_path / "x.beton", [beton.path for beton in betons])
    assert not list(tmp_path.glob("x.beton*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with 1 MB of space."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_too_small_disk_is_refused_before_writing(tmp_path: Path, small_disk: Path) -> None:
    beton = make(tmp_path / "1.beton", [0, 1], side=500)
    with pytest.raises(UserError, match=r"has only 1\.0 MB free, and x\.beton needs about 1\.5 MB"):
        merge(small_disk / "x.beton", [beton.path])
    assert os.listdir(small_disk) == []
