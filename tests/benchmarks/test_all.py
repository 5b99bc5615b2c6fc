"""`all`: every stage has a short version, one that fails or can't run is a record, and the next goes on."""

import importlib
import shlex
import sys
from pathlib import Path

import pytest

from benchmarks import bench_all
from benchmarks.__main__ import STAGES
from benchmarks.bench_all import main
from benchmarks.short import SHORT, Short
from benchmarks.table import page
from engine.errors import UserError
from tests.benchmarks import records

SMALL = "--what=step --arch=small_resnet --resolution=16 --batch=4 --precision=fp32 --seconds=0.01"


WAYS_OF_TRAINING = {"accuracy", "augment", "blurpool", "techniques"}


def test_every_stage_of_throughput_has_a_short_version() -> None:
    assert set(SHORT) == set(STAGES) - {"all", "gate", "readme", "report", *WAYS_OF_TRAINING}


@pytest.mark.parametrize("stage", list(SHORT))
def test_each_stage_takes_its_short_options(stage: str) -> None:
    module = importlib.import_module(STAGES[stage][0].partition(":")[0])
    for each in SHORT[stage]:
        options = module._parse(shlex.split(each.options))
        assert hasattr(options, "data") == each.takes_images


@pytest.mark.slow
def test_a_stage_that_fails_is_recorded_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shorts = {
        "copy": (Short(what="no GPU here", takes_images=False, needs_gpu=True),),
        "loader": (Short(what="asked for what is not there", options="--against=nobody"),),
        "roofline": (Short(what="a step", options=SMALL, takes_images=False),),
    }
    monkeypatch.setattr(bench_all, "SHORT", shorts)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["--stages=copy,loader,roofline", f"--json={tmp_path}/all.json"]) == 1
    copy, loader, roofline = records.read(tmp_path / "all.json")
    assert copy["failed"].startswith("copy needs a CUDA device") and copy["not_run"]
    assert loader["failed"].startswith("no peer 'nobody'")
    records.check(roofline)
    printed = capsys.readouterr().out
    assert "copy: no GPU here: not run: copy needs a CUDA device" in printed
    assert "roofline: a step: 1 comparisons" in printed
    for record in (copy, loader):
        assert f"not run: {record['failed']}" in page([record])


def test_a_stage_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    code, last, in_time = bench_all._watch(
        [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(600)"], 1.5
    )
    assert (last, in_time) == ("begun", False)
    assert code != 0


def test_what_it_prints_last_is_known() -> None:
    words = "print('one'); print('two'); print(); raise SystemExit(3)"
    assert bench_all._watch([sys.executable, "-c", words], 60) == (3, "two", True)


def test_a_page_of_several_stages_has_each_one_s_table() -> None:
    shared = {
        "machine": {"cpu": "x", "cores": 2},
        "versions": {"torch": "2"},
        "revision": "r",
        "started": "s",
    }
    found = [
        bench_all._without(stage, f"no {stage}", shared, not_run=True) for stage in ("read", "copy", "read")
    ]
    text = page(found)
    assert text.index("# read, cpu") < text.index("# copy, cpu")
    assert text.count("not run: no read") == 2


def test_an_unknown_stage_is_one_line() -> None:
    with pytest.raises(UserError, match="--stages"):
        main(["--stages=loader,lodar"])
