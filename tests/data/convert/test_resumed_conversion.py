"""A conversion that ended with an error goes on by the same command, to the files of one that was never interrupted."""

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.data.convert import partial_file
from engine.errors import UserError
from tests.data.conversions import PARTS, converted, names

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def broken(pets: Path, tmp_path: Path) -> Path:
    """A source whose last training image is empty, and `out`, where a conversion of it has ended at that image."""
    (pets / "train/dog/zzz.jpg").touch()
    with pytest.raises(UserError, match=r"train/dog/zzz\.jpg"):
        converted(pets, tmp_path / "out")
    assert names(tmp_path / "out") == PARTS
    return pets


def test_an_error_keeps_what_is_done_and_the_same_command_goes_on(
    broken: Path, tmp_path: Path, capsys: Capture
) -> None:
    with pytest.raises(UserError, match=r"train/dog/zzz\.jpg"):
        converted(broken, tmp_path / "out")
    assert capsys.readouterr().out.splitlines() == [
        "train: going on from image 32 of 41 (interrupted run)",
        f"kept in {tmp_path}/out: 7 of 7 of val, 32 of 41 of train; the same command goes on from there",
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rule_that_no_image_before_was_under_may_change(
    broken: Path, tmp_path: Path, capsys: Capture, workers: int
) -> None:
    rules = {"empty": "skip", "cmyk": "skip", "duplicate": "keep"}
    found = converted(broken, tmp_path / "out", rules, num_workers=workers)
    assert "train: going on from image 32 of 41 (interrupted run)\n" in capsys.readouterr().out
    assert found == converted(broken, tmp_path / "fresh", rules)
    assert names(tmp_path / "out") == ["train.beton", "val.beton"]


def test_a_rule_that_an_image_before_was_under_starts_it_anew(
    broken: Path, tmp_path: Path, capsys: Capture
) -> None:
    # The images of 1 x 1 pixel are copies of each other or of some in val.
    rules = {"empty": "skip", "duplicate": "skip"}
    found = converted(broken, tmp_path / "out", rules)
    out = capsys.readouterr().out
    assert re.search(
        r"val: starting anew, .*partial: it was begun with another value of rules\.duplicate", out
    )
    assert "train: starting anew, " in out and "going on from" not in out
    assert found == converted(broken, tmp_path / "fresh", rules)


@pytest.mark.parametrize(
    "options",
    [{"jpeg_quality": 91}, {"order": "shuffled"}, {"seed": 1, "format": "proportion"}, {"license": "x"}],
)
def test_other_settings_start_it_anew(
    broken: Path, tmp_path: Path, capsys: Capture, options: dict[str, Any]
) -> None:
    found = converted(broken, tmp_path / "out", {"empty": "skip"}, **options)
    assert "train: starting anew, not going on with" in capsys.readouterr().out
    assert found == converted(broken, tmp_path / "fresh", {"empty": "skip"}, **options)


def test_other_images_start_it_anew(broken: Path, tmp_path: Path, capsys: Capture) -> None:
    (broken / "train/dog/zzz.jpg").unlink()
    found = converted(broken, tmp_path / "out")
    out = capsys.readouterr().out
    assert "train: starting anew" in out and "val: starting anew" not in out
    assert found == converted(broken, tmp_path / "fresh")


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("damage", ["removed", "emptied", "cut short", "overwritten"])
def test_whatever_became_of_its_parts_the_files_are_the_same(
    broken: Path, tmp_path: Path, name: str, damage: str
) -> None:
    path = tmp_path / "out" / name
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "cut short":
        path.write_bytes(content[: len(content) * 2 // 3])
    elif name.endswith(".journal"):
        path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    else:
        # The head is written last; what lies there before, and behind the end, is nobody's.
        path.write_bytes(b"x" * 1000 + content[1000:] + b"x" * 5000)
    found = converted(broken, tmp_path / "out", {"empty": "skip"})
    assert found == converted(broken, tmp_path / "fresh", {"empty": "skip"})
    assert names(tmp_path / "out") == ["train.beton", "val.beton"]


def test_a_file_that_only_has_the_name_is_not_taken_for_its_own(
    broken: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    (out / "val.beton.partial").unlink()
    (out / "val.beton").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"val\.beton is there already"):
        converted(broken, out, {"empty": "skip"})
    assert (out / "val.beton").read_bytes() == b"precious"
    found = converted(broken, out, {"empty": "skip"}, overwrite=True)
    assert found == converted(broken, tmp_path / "fresh", {"empty": "skip"})


def test_overwriting_goes_on_too(broken: Path, tmp_path: Path, capsys: Capture) -> None:
    old = tmp_path / "out/train.beton"
    old.write_bytes(b"old")
    with pytest.raises(UserError, match="is there already"):
        converted(broken, tmp_path / "out")
    with pytest.raises(UserError, match="zzz"):
        converted(broken, tmp_path / "out", overwrite=True)
    assert old.read_bytes() == b"old"
    converted(broken, tmp_path / "out", {"empty": "skip"}, overwrite=True)
    assert capsys.readouterr().out.count("train: going on from image 32 of 41") == 2
    assert old.read_bytes() != b"old"


@pytest.mark.parametrize("finished", [["val"], ["train"], ["train", "val"]])
def test_a_command_that_is_refused_leaves_all_as_it_was(
    broken: Path, tmp_path: Path, capsys: Capture, finished: list[str]
) -> None:
    out = tmp_path / "out"
    for split in finished:
        (out / f"{split}.beton").write_bytes(b"finished long ago")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UserError, match=rf"{finished[-1]}\.beton is there already"):
        converted(broken, out, {"empty": "skip"}, seed=3, format="raw")
    assert "starting anew" not in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    found = converted(broken, out, {"empty": "skip"}, overwrite=True)
    assert "train: going on from image 32 of 41" in capsys.readouterr().out
    assert found == converted(broken, tmp_path / "fresh", {"empty": "skip"})


def test_a_disk_that_is_too_small_for_other_settings_leaves_all_as_it_was(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr("engine.data.convert.conversion.LEAST_IMAGES", 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(UserError, match="and the files need about"):
        converted(broken, out, {"empty": "skip"}, format="raw")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_shard_goes_on_by_itself(broken: Path, tmp_path: Path, capsys: Capture) -> None:
    before = {name: (tmp_path / "out" / name).read_bytes() for name in PARTS}
    with pytest.raises(UserError, match="zzz"):
        converted(broken, tmp_path / "out", shard="2/2")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in PARTS} == before
    found = converted(broken, tmp_path / "out", {"empty": "skip"}, shard="2/2")
    assert "train: going on from image 16 of 21" in capsys.readouterr().out
    assert found == converted(broken, tmp_path / "fresh", {"empty": "skip"}, shard="2/2")


def test_a_second_conversion_to_the_same_place_is_refused(pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with partial_file.Partial(out / "train.beton"):
        with pytest.raises(UserError, match=r"another conversion is writing train\.beton in .*out: wait for"):
            converted(pets, out)
        assert names(out) == ["train.beton.partial.journal"]
    assert names(out) == []
    converted(pets, out)


def test_no_descriptor_or_thread_stays_behind(pets: Path, tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd")) + len(os.listdir("/proc/self/task"))

    converted(pets, tmp_path / "0")
    before = count()
    for number in range(1, 4):
        converted(pets, tmp_path / str(number))
    assert count() <= before
