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


def test_error_keeps_finished_images_and_rerun_resumes(broken: Path, tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(UserError, match=r"train/dog/zzz\.jpg"):
        converted(broken, tmp_path / "out")
    assert capsys.readouterr().out.splitlines() == [
        "train: resuming at image 32 of 41 (interrupted run)",
        f"kept in {tmp_path}/out: 7 of 7 val images, 32 of 41 train images; run the same command again to resume",
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_unused_rule_may_change_before_resume(
    broken: Path, tmp_path: Path, capsys: Capture, workers: int
) -> None:
    rules = {"empty": "skip", "cmyk": "skip", "duplicate": "keep"}
    found = converted(broken, tmp_path / "out", rules, num_workers=workers)
    assert "train: resuming at image 32 of 41 (interrupted run)\n" in capsys.readouterr().out
    assert found == converted(broken, tmp_path / "fresh", rules)
    assert names(tmp_path / "out") == ["train.beton", "val.beton"]


@pytest.mark.parametrize(("limit", "resumes"), [("600", True), ("400", False)])
def test_higher_size_limit_resumes_where_nothing_was_oversized(
    broken: Path, tmp_path: Path, capsys: Capture, limit: str, resumes: bool
) -> None:
    rules = {"empty": "skip", "max_megabytes": int(limit)}
    found = converted(broken, tmp_path / "out", rules)  # type: ignore[arg-type]
    assert ("train: resuming at image 32 of 41" in capsys.readouterr().out) == resumes
    assert found == converted(broken, tmp_path / "fresh", rules)  # type: ignore[arg-type]


def test_changed_rule_of_finished_images_restarts(broken: Path, tmp_path: Path, capsys: Capture) -> None:
    # The images of 1 x 1 pixel are copies of each other or of some in val.
    rules = {"empty": "skip", "duplicate": "skip"}
    found = converted(broken, tmp_path / "out", rules)
    out = capsys.readouterr().out
    assert re.search(
        r"val: restarting, .*partial can't be resumed: it was started with another value of rules\.duplicate",
        out,
    )
    assert "train: restarting, " in out and "resuming" not in out
    assert found == converted(broken, tmp_path / "fresh", rules)


@pytest.mark.parametrize(
    "options",
    [{"jpeg_quality": 91}, {"order": "shuffled"}, {"seed": 1, "format": "proportion"}, {"license": "x"}],
)
def test_other_settings_restart_the_conversion(
    broken: Path, tmp_path: Path, capsys: Capture, options: dict[str, Any]
) -> None:
    found = converted(broken, tmp_path / "out", {"empty": "skip"}, **options)
    assert "note: train: restarting, " in capsys.readouterr().out
    assert found == converted(broken, tmp_path / "fresh", {"empty": "skip"}, **options)


def test_other_images_restart_the_conversion(broken: Path, tmp_path: Path, capsys: Capture) -> None:
    (broken / "train/dog/zzz.jpg").unlink()
    found = converted(broken, tmp_path / "out")
    out = capsys.readouterr().out
    assert "train: restarting" in out and "val: restarting" not in out
    assert found == converted(broken, tmp_path / "fresh")


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("damage", ["removed", "emptied", "cut short", "overwritten"])
def test_damaged_partial_file_or_journal_gives_the_same_files(
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


def test_foreign_file_of_the_same_name_is_refused(broken: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    (out / "val.beton.partial").unlink()
    (out / "val.beton").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"val\.beton exists already"):
        converted(broken, out, {"empty": "skip"})
    assert (out / "val.beton").read_bytes() == b"precious"
    found = converted(broken, out, {"empty": "skip"}, overwrite=True)
    assert found == converted(broken, tmp_path / "fresh", {"empty": "skip"})


def test_interrupted_overwrite_is_resumed(broken: Path, tmp_path: Path, capsys: Capture) -> None:
    old = tmp_path / "out/train.beton"
    old.write_bytes(b"old")
    with pytest.raises(UserError, match="exists already"):
        converted(broken, tmp_path / "out")
    with pytest.raises(UserError, match="zzz"):
        converted(broken, tmp_path / "out", overwrite=True)
    assert old.read_bytes() == b"old"
    converted(broken, tmp_path / "out", {"empty": "skip"}, overwrite=True)
    assert capsys.readouterr().out.count("train: resuming at image 32 of 41") == 2
    assert old.read_bytes() != b"old"


@pytest.mark.parametrize("finished", [["val"], ["train"], ["train", "val"]])
def test_refused_command_changes_nothing(
    broken: Path, tmp_path: Path, capsys: Capture, finished: list[str]
) -> None:
    out = tmp_path / "out"
    for split in finished:
        (out / f"{split}.beton").write_bytes(b"finished long ago")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UserError, match=rf"{finished[-1]}\.beton exists already"):
        converted(broken, out, {"empty": "skip"}, seed=3, format="raw")
    assert "restarting" not in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    found = converted(broken, out, {"empty": "skip"}, overwrite=True)
    assert "train: resuming at image 32 of 41" in capsys.readouterr().out
    assert found == converted(broken, tmp_path / "fresh", {"empty": "skip"})


def test_disk_too_small_for_new_settings_changes_nothing(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr("engine.data.convert.conversion.LEAST_IMAGES", 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(UserError, match="and the files need about"):
        converted(broken, out, {"empty": "skip"}, format="raw")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_interrupted_shard_is_resumed(broken: Path, tmp_path: Path, capsys: Capture) -> None:
    before = {name: (tmp_path / "out" / name).read_bytes() for name in PARTS}
    with pytest.raises(UserError, match="zzz"):
        converted(broken, tmp_path / "out", shard="2/2")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in PARTS} == before
    found = converted(broken, tmp_path / "out", {"empty": "skip"}, shard="2/2")
    assert "train: resuming at image 16 of 21" in capsys.readouterr().out
    assert found == converted(broken, tmp_path / "fresh", {"empty": "skip"}, shard="2/2")


def test_second_conversion_to_the_same_folder_is_refused(pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with partial_file.Partial(out / "train.beton"):
        with pytest.raises(
            UserError, match=r"another conversion is writing train\.beton in .*out: wait until"
        ):
            converted(pets, out)
        assert names(out) == ["train.beton.partial.journal"]
    assert names(out) == []
    converted(pets, out)


def test_conversion_leaves_no_descriptor_or_thread(pets: Path, tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd")) + len(os.listdir("/proc/self/task"))

    converted(pets, tmp_path / "0")
    before = count()
    for number in range(1, 4):
        converted(pets, tmp_path / str(number))
    assert count() <= before
