"""`python -m engine leaderboard`: what is printed, written and refused."""

import json
from pathlib import Path

import pytest

from engine.cli.leaderboard import main
from engine.errors import UserError
from tests.report.leaderboard.boards import put, run_of
from tests.report.runs import demo_log
from tests.unread import NobodyReads


def test_tables_picture_and_page_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path / "runs" / "a")
    picture, page = tmp_path / "b.svg", tmp_path / "b.html"
    assert main([str(tmp_path / "runs"), "--picture", str(picture), "--html", str(page)]) == 0
    said = capsys.readouterr()
    assert "ImageNet-1k, measured by this project" in said.out and "rn50_16_epochs" in said.out
    assert "ImageNet-1k, published by others" in said.out and "ffcv-imagenet, ResNet-50" in said.out
    assert picture.read_text().startswith("<svg") and page.read_text().startswith("<!doctype html>")


def test_files_are_written_though_nobody_reads_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "runs" / "a")
    picture, page = tmp_path / "b.svg", tmp_path / "b.html"
    monkeypatch.setattr("sys.stdout", NobodyReads())
    with pytest.raises(BrokenPipeError):
        main([str(tmp_path / "runs"), "--picture", str(picture), "--html", str(page)])
    assert picture.exists() and page.exists()


def test_damaged_record_is_named_and_the_rest_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "record.json").write_text('{"kind": "run_rec')
    assert main([str(tmp_path)]) == 0
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"note: {tmp_path / 'bad' / 'record.json'} is damaged")
    assert "rn50_16_epochs" in said.out


def test_json_has_every_entry_with_nulls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path / "a", run_of(0.74, 100.0, time_to_target_seconds=90.0))
    assert main([str(tmp_path), "--json", "--published", "none"]) == 0
    content = json.loads(capsys.readouterr().out)
    (entry,) = content["entries"]
    assert content["schema"] == 1
    assert (entry["top1"], entry["to_target_seconds"], entry["cost"], entry["published"]) == (
        0.74,
        90.0,
        None,
        False,
    )
    assert entry["command"].endswith("config.yaml")


@pytest.mark.parametrize(
    ("which", "theirs"), [("same", False), ("all", True), ("none", False)], ids=["same", "all", "none"]
)
def test_published_points_follow_the_data_sets_of_the_runs(
    which: str, theirs: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "a", demo_log(), data={"train_dataset": "fashion.beton"})
    assert main([str(tmp_path), "--published", which]) == 0
    out = capsys.readouterr().out
    assert "Fashion-MNIST, measured by this project" in out and ("published by others" in out) is theirs


def test_without_a_run_the_published_points_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    assert "published by others" in capsys.readouterr().out
    assert main(["--published", "none"]) == 0
    assert capsys.readouterr().out == "no finished run and no published point to show\n"
    with pytest.raises(UserError, match=r"--picture: no entry has a time"):
        main(["--published", "none", "--picture", "b.svg"])


def test_missing_folder_and_folder_as_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist"):
        main([str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match=r"--html .* is a folder: name a file in it"):
        main(["--html", str(tmp_path), str(tmp_path)])
