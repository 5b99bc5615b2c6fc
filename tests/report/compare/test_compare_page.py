"""Runs side by side: what is read of their folders, printed, and drawn."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.cli.compare import main
from engine.errors import UserError
from engine.report.compare.compare_page import render
from engine.report.compare.compare_rows import measure_rows, option_rows, tables
from engine.report.compare.compared_run import read_runs
from tests.report.runs import (
    adapted_log,
    alarm_line,
    demo_log,
    epoch_lines,
    result_line,
    run_config,
    start_line,
    whole_log,
)
from tests.unread import NobodyReads

Line = dict[str, Any]


def _write(folder: Path, lines: list[Line], **sections: dict[str, Any]) -> Path:
    """A run folder with this log, its settings those of run_config."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(run_config(**sections)))
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _stages(folder: Path, *, finished: bool = True) -> Path:
    """A run of two stages of four and two epochs."""
    facts = {"stages": 2, "earlier_seconds": 0.0}
    first = [line | facts | {"stage": 1} for line in epoch_lines(4)]
    spent = first[-1]["elapsed_seconds"]
    second = [
        line | facts | {"stage": 2, "elapsed_seconds": spent + line["elapsed_seconds"]}
        for line in epoch_lines(2, top1=0.76)
    ]
    start = start_line(stages=2)
    _write(folder / "stage1", [start | {"stage": 1}, *first, result_line(first[-1], stages=2, stage=1)])
    last = [result_line(second[-1], stages=2, stage=2)] if finished else []
    _write(
        folder / "stage2",
        [start | {"stage": 2}, *(second if finished else second[:1]), *last],
        training={"epochs": 2},
        model={"weights": "stage1/weights.pt"},
    )
    (folder / "stages.yaml").write_text("then: []\n")
    return folder


def _rows(runs: list[Path]) -> dict[str, list[str]]:
    return dict(measure_rows(read_runs(runs)))


def test_running_run_has_the_time_of_the_last_epoch(tmp_path: Path) -> None:
    lines = whole_log(4)
    (run,) = read_runs([_write(tmp_path / "a", lines[:-1])])
    assert run.seconds == lines[-2]["elapsed_seconds"] > lines[1]["elapsed_seconds"]


def test_line_with_wrong_type_is_left_out_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = whole_log(4)
    lines[2]["top1"] = "abc"
    folder = _write(tmp_path / "a", lines)
    assert main([str(folder), str(folder)]) == 0
    said = capsys.readouterr()
    assert f"note: 1 line(s) of {folder / 'log.jsonl'} are incomplete and were left out" in said.err
    assert "74.00%" in said.out


def test_results_of_two_runs_share_a_table(tmp_path: Path) -> None:
    whole, demo = _write(tmp_path / "a", whole_log(16)), _write(tmp_path / "b", demo_log())
    rows = _rows([whole, demo])
    assert rows["state"] == ["finished", "finished"]
    assert rows["top-1"] == ["74.00%", "92.31%"]
    assert rows["best top-1"] == ["74.00% (epoch 16)", "92.31% (epoch 5)"]
    assert rows["plain top-1"][0] == "72.57%"
    assert rows["epochs"] == ["16", "5"]
    assert rows["images"] == [f"{16 * 1281024:,}", f"{5 * 59904:,}"]
    assert rows["trained on"] == ["8 × NVIDIA H200", "2 cores of Some Processor 2"]
    assert "EMA top-1" not in rows, "no run kept an average"


def test_target_row_shows_when_first_reached(tmp_path: Path) -> None:
    reached = _write(tmp_path / "a", whole_log(16, target_top1=0.7))
    missed = _write(tmp_path / "b", whole_log(16, target_top1=0.9))
    lines = epoch_lines(16)
    first = next(line for line in lines if line["top1"] >= 0.7)
    assert first is not lines[-1]
    minutes, seconds = divmod(round(first["elapsed_seconds"]), 60)
    assert _rows([reached, missed])["target"] == [
        f"70.00% after {minutes} min {seconds} s",
        "90.00% not reached",
    ]


def test_best_accuracy_uses_ema_when_logged(tmp_path: Path) -> None:
    lines = [line | {"ema_top1": line["top1"] + 0.01 * (line["epoch"] == 2)} for line in epoch_lines(3)]
    lines[1]["ema_top1"] = 0.9
    rows = _rows([_write(tmp_path / "a", [start_line(), *lines])])
    assert rows["best top-1"] == ["90.00% (epoch 2, EMA)"]
    assert rows["EMA top-1"] == ["74.00%"]


def test_unfinished_runs_are_compared(tmp_path: Path) -> None:
    running = _write(tmp_path / "a", [start_line(), *epoch_lines(16)[:5]])
    begun = _write(tmp_path / "b", [start_line()])
    rows = _rows([running, begun])
    assert rows["state"] == ["epoch 5 of 16", "no epoch yet"]
    assert rows["top-1"][1] == rows["time"][1] == "–"
    assert "Accuracy against time" in render(read_runs([running, begun]))
    assert "Nothing was validated yet." in render(read_runs([begun]))


def test_stages_are_one_curve_on_one_clock(tmp_path: Path) -> None:
    (run,) = read_runs([_stages(tmp_path / "two")])
    assert [point.epoch for point in run.measured] == [1, 2, 3, 4, 5, 6]
    assert [point.images for point in run.measured] == [1281024 * number for number in range(1, 7)]
    seconds = [point.seconds for point in run.measured]
    assert seconds == sorted(seconds)
    assert run.state() == "finished"
    (half,) = read_runs([_stages(tmp_path / "half", finished=False)])
    assert half.state() == "stage 2 of 2, epoch 1 of 2"
    assert half.result is None


def test_run_with_only_first_stage_done_has_no_result(tmp_path: Path) -> None:
    folder = _stages(tmp_path / "two")
    (folder / "stage2" / "log.jsonl").write_text("")
    (run,) = read_runs([folder])
    assert run.result is None
    assert run.state() == "stage 1 of 2, done"


def test_only_differing_options_are_shown(tmp_path: Path) -> None:
    one = _write(tmp_path / "a", whole_log(4), lr={"lr": 0.5}, logging={"name": "a"})
    two = _write(tmp_path / "b", whole_log(4), lr={"lr": 1.7}, logging={"name": "b"})
    assert option_rows(read_runs([one, two])) == [("lr.lr", ["0.5", "1.7"])]
    assert option_rows(read_runs([one, one])) == []


def test_option_newer_than_the_run_has_its_default(tmp_path: Path) -> None:
    old, new = _write(tmp_path / "a", whole_log(4)), _write(tmp_path / "b", whole_log(4))
    config = yaml.safe_load((old / "config.yaml").read_text())
    del config["training"]["nesterov"]
    del config["loss"]
    (old / "config.yaml").write_text(yaml.safe_dump(config))
    assert option_rows(read_runs([old, new])) == []


def test_stage_missing_in_some_runs_shows_its_changes(tmp_path: Path) -> None:
    several, single = _stages(tmp_path / "two"), _write(tmp_path / "one", whole_log(4))
    assert option_rows(read_runs([several, single])) == [("stage 2: training.epochs", ["2", "–"])]


@pytest.mark.parametrize("content", [None, ""])
def test_folder_without_run_is_refused_in_one_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        _write(tmp_path / "no", [])
    with pytest.raises(UserError, match=r"no is not a run") as caught:
        read_runs([tmp_path / "no"])
    assert "\n" not in str(caught.value)


def test_runs_with_equal_names_are_named_by_folder(tmp_path: Path) -> None:
    folders = [_write(tmp_path / parent / "same", whole_log(2)) for parent in ("x", "y")]
    folders += [_write(tmp_path / "other", whole_log(2))]
    names = [run.name for run in read_runs([*folders, folders[2]])]
    assert names == ["x/same", "y/same", "other (1)", "other (2)"]


def test_narrow_terminal_lists_runs_vertically() -> None:
    names, rows = ["first", "second"], [("a measure", ["1" * 20, "2" * 20])]
    wide, narrow = (tables(names, [("", rows)], width) for width in (200, 40))
    assert len(wide.splitlines()) == 2
    assert max(map(len, narrow.splitlines())) <= 40
    assert [line.split()[-1] for line in narrow.splitlines() if line] == [
        "first",
        "1" * 20,
        "second",
        "2" * 20,
    ]


def test_long_value_is_cut_to_its_end() -> None:
    text = tables(["a"], [("", [("path", ["/data/" + "x" * 60 + "/train.beton"])])], 200)
    assert text.endswith("/train.beton") and "…" in text
    assert max(map(len, text.splitlines())) < 60


def test_page_is_written_though_nobody_reads_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [_write(tmp_path / name, whole_log(4)) for name in ("a", "b")]
    monkeypatch.setattr("sys.stdout", NobodyReads())
    with pytest.raises(BrokenPipeError):
        main([*map(str, runs), "--html", str(tmp_path / "page.html")])
    assert (tmp_path / "page.html").exists()


def test_compare_verb_prints_tables_and_writes_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # On the same data: the accuracies of others are not ranked.
    demo = [start_line(), *demo_log()[1:]]
    runs = [_write(tmp_path / "a", whole_log(4)), _write(tmp_path / "b", demo, lr={"lr": 0.1})]
    assert main([*map(str, runs), "--html", str(tmp_path / "page.html")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"top-1 +74\.00% +92\.31%", printed)
    assert re.search(r"lr\.lr +0\.5 +0\.1", printed)
    page = (tmp_path / "page.html").read_text()
    assert page.count('<svg class="chart') == 6, "three figures, each for a screen and a phone"
    assert not re.search(r'(src|href)="', page), "nothing is fetched"
    assert "92.31% top-1, of b" in page
    with pytest.raises(UserError, match="is a folder"):
        main([str(runs[0]), "--html", str(tmp_path)])


def test_run_name_with_html_is_escaped(tmp_path: Path) -> None:
    run = _write(tmp_path / "<script>x", whole_log(2))
    assert "<script>" not in render(read_runs([run]))


def test_ten_runs_have_distinct_line_styles(tmp_path: Path) -> None:
    runs = read_runs([_write(tmp_path / f"run{number:02d}", whole_log(3)) for number in range(10)])
    page = render(runs)
    styles = re.findall(r"\.line\.r\d+\{(stroke:[^}]+)\}", page)
    assert len(styles) == len(set(styles)) == 10


def test_adapted_run_is_compared_like_any_other(tmp_path: Path) -> None:
    adapted = [*adapted_log()[:3], alarm_line(2), *adapted_log()[3:]]
    rows = _rows([_write(tmp_path / "a", adapted), _write(tmp_path / "b", whole_log(16))])
    assert rows["epochs"] == ["15", "16"] and rows["state"] == ["finished", "finished"]


@pytest.mark.parametrize(
    "changes", [{"num_val": 120}, {"val_data": "50000 images, crc 00000002"}, {"num_classes": 20}]
)
def test_runs_on_different_data_are_not_ranked(
    changes: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"val_data": "50000 images, crc 00000001"}
    log = whole_log(4)
    one = _write(tmp_path / "one", [log[0] | known, *log[1:]])
    same = _write(tmp_path / "same", [log[0] | known, *log[1:]])
    other = _write(tmp_path / "other", [log[0] | known | changes, *log[1:]])
    assert main([str(one), str(same)]) == 0
    assert "different data" not in capsys.readouterr().out
    assert "The best validation is" in render(read_runs([one, same]))
    assert main([str(one), str(other)]) == 0
    assert (
        "warning: These runs were validated on different data (one: 50000 images" in capsys.readouterr().out
    )
    page = render(read_runs([one, other]))
    assert "can&#x27;t be ranked" in page and "The best validation is" not in page
