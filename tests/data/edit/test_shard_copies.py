"""Images that are there twice are found when shards are merged, as a conversion in one go finds them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.cli.merge import main
from engine.config.write import OutputConfig, RulesConfig, SourceConfig, WriteConfig
from engine.data.beton.manifest import Manifest
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from engine.data.edit.merge import merge
from engine.data.edit.shard_copies import CopyRules
from engine.data.edit.subset import Choice, subset
from engine.data.sources import Split
from engine.errors import UserError
from tests.data.conftest import jpeg_bytes, photo, write_tree
from tests.data.made import make

PARTS = 3


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 training images, among them one three times, one twice, and two that val has (one of them twice itself)."""
    pictures = [jpeg_bytes(photo(20 + number, 30, number)) for number in range(30)]
    train: dict[str, dict[str, object]] = {"ant": {}, "bee": {}}
    for number, content in enumerate(pictures):
        train["ant" if number % 2 else "bee"][f"{number:02d}.jpg"] = content
    train["ant"]["again.jpg"] = train["bee"]["again.jpg"] = pictures[4]
    train["ant"]["twice.jpg"] = pictures[17]
    val = {"ant": {"x.jpg": pictures[8], "y.jpg": pictures[9]}, "bee": {"x.jpg": pictures[9]}}
    val["bee"] |= {f"{number}.jpg": jpeg_bytes(photo(16, 16, 50 + number)) for number in range(4)}
    folder = tmp_path_factory.mktemp("copies") / "source"
    return write_tree(folder, {"train": train, "val": val})  # type: ignore[dict-item]


def converted(source: Path, folder: Path, shard: str = "", **rules: Any) -> dict[Split, Path]:
    options = OutputConfig(folder=str(folder), num_workers=1, page_size=2, shard=shard)
    where = SourceConfig(path=str(source))
    return convert(WriteConfig(source=where, output=options, rules=RulesConfig(**rules)))


@pytest.fixture(scope="module")
def shards(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Split, list[Path]]:
    folder = tmp_path_factory.mktemp("parts")
    parts = [converted(source, folder, f"{part}/{PARTS}") for part in range(1, PARTS + 1)]
    return {split: [part[split] for part in parts] for split in ("train", "val")}


@pytest.mark.parametrize(
    "rules", [{}, {"duplicate": "skip"}, {"leak": "skip"}, {"duplicate": "skip", "leak": "skip"}]
)
def test_merged_shards_apply_copy_rules_like_the_unsharded_file(
    source: Path, shards: dict[Split, list[Path]], tmp_path: Path, rules: dict[str, str]
) -> None:
    whole = converted(source, tmp_path / "whole", **rules)
    merge(tmp_path / "train.beton", shards["train"][::-1], val=shards["val"], rules=CopyRules(**rules))
    assert (tmp_path / "train.beton").read_bytes() == whole["train"].read_bytes()
    said = _manifest(tmp_path / "train.beton")
    # Of the leaks none is a duplicate within train.
    assert said.odd == {"duplicate": 3, "leak": 2, "conflict": 3}
    assert len(said.duplicates) == 3 * (rules.get("duplicate") != "skip") + 2 * (rules.get("leak") != "skip")
    assert len(said.ids) == len(said.source_numbers) == 33 - len(said.rejects)
    # A leak is none of val's business: its rule is train's, and only noted.
    merge(tmp_path / "val.beton", shards["val"], rules=CopyRules(duplicate=rules.get("duplicate", "keep")))
    ours, theirs = _manifest(tmp_path / "val.beton"), _manifest(whole["val"])
    assert replace(ours, rules=theirs.rules) == theirs
    assert ours.odd == {"duplicate": 1, "conflict": 1}


def _manifest(path: Path) -> Manifest:
    manifest = open_beton(path).manifest
    assert manifest is not None
    return manifest


def test_found_copies_and_skipped_leak_search_are_printed(
    shards: dict[Split, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, val = (list(map(str, shards[split])) for split in ("train", "val"))
    assert main([str(tmp_path / "1.beton"), *train]) == 0
    said = capsys.readouterr().out
    assert "copies: duplicate 3, conflict 2; python -m engine inspect lists them" in said
    assert (
        "training images that are also in val were not looked for: pass --val VAL_SHARD... to find them"
        in said
    )
    assert main([str(tmp_path / "2.beton"), *train, "--leak=skip", "--val", *val]) == 0
    said = capsys.readouterr().out
    assert "copies: duplicate 3, leak 2, conflict 3;" in said and "not looked for" not in said
    assert "wrote" in said and "31 images of 3 files" in said


def test_digests_are_stored_in_shards_only(
    source: Path, shards: dict[Split, list[Path]], tmp_path: Path
) -> None:
    whole = converted(source, tmp_path / "whole")
    merge(tmp_path / "some.beton", shards["train"][:2], partial=True)
    subset(tmp_path / "share.beton", shards["train"][0], Choice(count=5))
    assert all(_manifest(path).digests for path in shards["train"] + shards["val"])
    for path in (whole["train"], tmp_path / "some.beton", tmp_path / "share.beton"):
        assert not _manifest(path).digests


@pytest.mark.parametrize(
    ("split", "val", "rules", "words"),
    [
        ("train", True, {"duplicate": "fail"}, "has the same content as .*: pass --duplicate=skip to leave"),
        ("train", True, {"leak": "fail"}, "has the same content as val: .*: pass --leak=skip to leave"),
        ("train", False, {"leak": "skip"}, "--leak=skip needs the shards of val"),
        ("val", True, {}, "--val is for merging the shards of train"),
        ("plain", False, {"duplicate": "skip"}, "is no shard .*--output.shard.*engine audit finds copies"),
        ("old", True, {}, "copies can't be looked for: .*old.beton was written by an earlier version"),
        ("damaged", True, {}, "damaged.beton is damaged: its digests cannot be read"),
    ],
)
def test_unusable_copy_rules_or_shards_are_refused_in_one_line(
    shards: dict[Split, list[Path]],
    tmp_path: Path,
    split: str,
    val: bool,
    rules: dict[str, str],
    words: str,
) -> None:
    inputs = shards.get(split)  # type: ignore[call-overload]
    if inputs is None:
        said: dict[str, Any] = {"classes": ("ant", "bee"), "shard": "" if split == "plain" else "1/1"}
        said |= {"digests": "AAAA"} if split == "damaged" else {}
        inputs = [make(tmp_path / f"{split}.beton", [0, 1], **said).path]
    with pytest.raises(UserError, match=words) as caught:
        merge(tmp_path / "x.beton", inputs, val=shards["val"] if val else (), rules=CopyRules(**rules))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("x.beton*"))


def test_val_option_accepts_only_all_shards_of_val(shards: dict[Split, list[Path]], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--val: .*train\.1-of-3\.beton is no shard of val"):
        merge(tmp_path / "x.beton", shards["train"], val=shards["train"])
    with pytest.raises(UserError, match="shards 2, 3 are missing"):
        merge(tmp_path / "x.beton", shards["train"], val=shards["val"][:1])


def test_shards_of_an_earlier_version_are_merged_with_a_note(tmp_path: Path) -> None:
    paths = [
        make(tmp_path / f"{part}.beton", [0, 1], first_id=2 * part, shard=f"{part}/2").path for part in (1, 2)
    ]
    merged = merge(tmp_path / "x.beton", paths)
    assert merged.file.samples == 4
    (note,) = merged.notes
    assert note.startswith("copies were not looked for: ") and "1.beton was written by an earlier" in note


def test_train_with_only_leaked_images_is_refused(tmp_path: Path) -> None:
    pictures = {"ant": {"1.jpg": photo(16, 16, 1)}, "bee": {"1.jpg": photo(16, 16, 2)}}
    source = write_tree(tmp_path / "source", {"train": pictures, "val": pictures})
    paths = converted(source, tmp_path, "1/1")
    with pytest.raises(
        UserError, match=r"the rules leave out every image, .*--leak, --conflict.*: pass keep"
    ):
        merge(tmp_path / "x.beton", [paths["train"]], val=[paths["val"]], rules=CopyRules(leak="skip"))
