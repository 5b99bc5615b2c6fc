"""The loader's benchmark from end to end: records, what fails, and what is refused."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import benchmarks.bench_loader
from benchmarks.__main__ import main
from benchmarks.bench_loader import main as loader
from benchmarks.peers import PEERS, Contender
from benchmarks.table import page
from engine.errors import UserError
from tests.benchmarks import records
from tests.benchmarks.conftest import TINY

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_against_itself_writes_a_valid_record_and_judges_by_the_interval(
    loader_benchmark: Run, tmp_path: Path
) -> None:
    done = loader_benchmark("--against=self", f"--json={tmp_path}/self.json")
    (record,) = records.read(tmp_path / "self.json")
    records.check(record)
    assert (record["ours"], record["peer"], record["resolution"]) == ("jpeg", "self", 16)
    assert (record["scale"], record["cores"], record["batch"]) == ([0.35, 1.0], 1, 4)
    assert "synthetic" in record["data"]
    # Equals do the same work; how fast is up to the machine, and so is the verdict, but not its rule.
    assert (record["pixel_difference"], record["labels_equal"]) == (0, True)
    equal = record["ratio"]["low"] <= 1 <= record["ratio"]["high"]
    assert done.returncode == (0 if equal else 1), done.stderr
    assert "| jpeg | self" in done.stdout
    assert (tmp_path / "self.md").read_text(encoding="utf-8") == page([record])


@pytest.mark.slow
def test_stock_ffcv_does_the_same_work(loader_benchmark: Run, tmp_path: Path) -> None:
    done = loader_benchmark("--against=ffcv-jpeg,ffcv-raw", f"--json={tmp_path}/ffcv.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {record["peer"]: record for record in records.read(tmp_path / "ffcv.json")}
    assert list(found) == ["ffcv-jpeg", "ffcv-raw"]
    for record in found.values():
        records.check(record)
        assert record["labels_equal"]
    # ffcv decodes with the fast DCT, we with the accurate one; raw pixels leave nothing to differ in.
    assert 0 < found["ffcv-jpeg"]["pixel_difference"] < 2
    assert found["ffcv-raw"]["pixel_difference"] < 0.01


@pytest.mark.gpu
@pytest.mark.slow
def test_batches_on_the_gpu(loader_benchmark: Run, tmp_path: Path) -> None:
    done = loader_benchmark("--device=cuda", "--against=ffcv-raw", f"--json={tmp_path}/gpu.json")
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = records.read(tmp_path / "gpu.json")
    records.check(record)
    assert (record["device"], record["labels_equal"]) == ("cuda", True)
    # float16 holds a level of 0..255 to within a sixteenth.
    assert record["pixel_difference"] < 0.07
    assert record["machine"]["gpus"]


def test_a_peer_that_fails_is_recorded_and_the_next_gets_its_turn(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bodies = {"broken": "raise RuntimeError('no such\\nluck')", "dead": "os._exit(7)"}
    monkeypatch.syspath_prepend(tmp_path)
    for name, body in bodies.items():
        (tmp_path / f"{name}_peer.py").write_text(f"import os\ndef open_side(task): {body}\n")
        monkeypatch.setitem(PEERS, name, Contender(storage="jpeg", module=f"{name}_peer"))
    assert loader([*TINY, "--against=broken,dead", f"--json={tmp_path}/broken.json"]) == 1
    found = records.read(tmp_path / "broken.json")
    reasons = ["broken: RuntimeError: no such luck", "dead's process ended with code 7"]
    assert [record["error"] for record in found] == reasons
    printed = capsys.readouterr().out
    for record in found:
        assert (record["n"], record["ours_median"], record["ratio"]["median"]) == (0, None, None)
        assert f"failed: {record['error']}" in printed
    assert "failed" in (tmp_path / "broken.md").read_text(encoding="utf-8")


def test_without_a_gpu_it_says_so_and_ends_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmarks.bench_loader, "_cuda_present", lambda: False)
    assert loader(["--device=cuda"]) == 0
    assert capsys.readouterr().out == "skipped: no CUDA device\n"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--against=ffcv-jpg", "no peer 'ffcv-jpg' (did you mean 'ffcv-jpeg'?)"),
        ("--resolution=0", "--resolution"),
        ("--resolution=128,big", "--resolution"),
        ("--scale=1.5", "--scale"),
        ("--rounds=4", "--rounds"),
        ("--seconds=0", "--seconds"),
        ("--seconds=nan", "--seconds"),
        ("--cores=1000", "--cores 1000"),
        ("--device=tpu", "--device"),
        ("--data=/no/such/folder", "/no/such/folder does not exist"),
        ("--json=/no/such/folder/x.json", "/no/such/folder/x.json can't be written"),
        ("--json=table.md", "table.md"),
        ("--bogus", "--bogus"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(option: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        loader([option])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_peer_leaves_with_2_and_one_line(loader_benchmark: Run) -> None:
    done = loader_benchmark("--against=nobody")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no peer 'nobody'")
    assert done.stderr.count("\n") == 1


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'loader'"):
        main(["lodar"])


def test_committed_records_are_valid_and_their_tables_up_to_date(repository: Path) -> None:
    files = sorted((repository / "benchmarks" / "results").glob("*.json"))
    if not files:
        pytest.skip("no record is committed yet")
    for file in files:
        found = records.read(file)
        assert found
        for record in found:
            if not record.get("error"):
                records.check(record)
        assert file.with_suffix(".md").read_text(encoding="utf-8") == page(found), file
