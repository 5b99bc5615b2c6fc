"""Records found in folders: of runs with and without record.json, and what is in the way."""

import json
from pathlib import Path

import pytest
import yaml

from engine.errors import UserError
from engine.report.leaderboard.record_search import find_records
from tests.report.leaderboard.boards import put, run_of
from tests.report.runs import demo_log, run_config, whole_log


def _run_folder(folder: Path, lines: list[dict[str, object]]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(run_config()))
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_records_and_older_run_folders_are_found(tmp_path: Path) -> None:
    put(tmp_path / "a" / "deep")
    _run_folder(tmp_path / "b", demo_log())
    found = find_records([tmp_path])
    assert [(path.name, record.recipe) for path, record in found.records] == [
        ("record.json", "rn50_16_epochs"),
        ("log.jsonl", "demo"),
    ]
    assert (found.faults, found.nothing_to_record) == ([], 0)


def test_record_and_its_copies_count_once(tmp_path: Path) -> None:
    put(tmp_path / "a")
    (tmp_path / "a.record.json").write_bytes((tmp_path / "a" / "record.json").read_bytes())
    places = [tmp_path, tmp_path / "a", tmp_path / "a" / "record.json"]
    assert len(find_records(places).records) == 1


def test_damaged_files_are_named_and_the_rest_is_found(tmp_path: Path) -> None:
    put(tmp_path / "good", run_of(0.7, 100.0))
    for name, content in (("bad", "{"), ("foreign", '{"kind": "benchmark"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(content)
    (_run_folder(tmp_path / "no config", demo_log()) / "config.yaml").unlink()
    found = find_records([tmp_path])
    assert len(found.records) == 1 and len(found.faults) == 3
    for name, fault in zip(
        ("bad/record.json", "foreign/record.json", "no config/config.yaml"), found.faults, strict=True
    ):
        assert name in fault and "\n" not in fault


def test_unfinished_runs_and_logs_without_a_line_are_counted(tmp_path: Path) -> None:
    _run_folder(tmp_path / "running", whole_log(3)[:-1])
    _run_folder(tmp_path / "empty", [])
    _run_folder(tmp_path / "checkpoints", demo_log())
    _run_folder(tmp_path / ".trash", demo_log())
    found = find_records([tmp_path])
    assert (found.records, found.nothing_to_record) == ([], 2)


def test_missing_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist: pass a folder with runs"):
        find_records([tmp_path / "nowhere"])
