"""The loader stage from end to end: records, failures, refusals."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.harness import arguments as options
from benchmarks.records.record_table import page
from benchmarks.sides import PEERS, Side
from benchmarks.stages.loader import main as loader
from engine.errors import UserError
from tests.benchmarks import record_checks
from tests.benchmarks.conftest import TINY

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
def test_self_comparison_is_judged_by_its_interval(loader_benchmark: Run, tmp_path: Path) -> None:
    done = loader_benchmark("--against=self", f"--json={tmp_path}/self.json")
    (record,) = record_checks.read(tmp_path / "self.json")
    record_checks.check(record)
    assert (record["ours"], record["peer"], record["resolution"]) == ("jpeg", "self", 16)
    assert (record["scale"], record["cores"], record["batch"]) == ([0.35, 1.0], 1, 4)
    assert "synthetic" in record["data"]
    # Equals do the same work; how fast is up to the machine, and so is the verdict, but not its rule.
    assert (record["pixel_difference"], record["labels_equal"]) == (0, True)
    equal = record["ratio"]["low"] <= 1 <= record["ratio"]["high"]
    assert done.returncode == (0 if equal else 1), done.stderr
    assert "| jpeg | self" in done.stdout
    assert (tmp_path / "self.md").read_text(encoding="utf-8") == page([record])


def test_plain_sides_are_recorded(
    cache: Path, tmp_path: Path, plain_side: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    plain_side("a", "pass")
    plain_side("b", "pass")
    assert loader([*TINY, "--ours=a", "--against=b", f"--json={tmp_path}/r.json"]) == 0
    (record,) = record_checks.read(tmp_path / "r.json")
    record_checks.check(record)
    assert (record["stage"], record["ours"], record["peer"]) == ("loader", "a", "b")
    assert (record["metric"], record["cache"], record["batch"]) == ("images_per_second", "warm", 4)
    assert "| a    | b" in capsys.readouterr().out
    assert (tmp_path / "r.md").read_text(encoding="utf-8") == page([record])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "peer", "form"),
    [
        ("jpeg", "ffcv-jpeg", "cpu"),
        ("yuv420-packed", "ffcv-jpeg", "host"),
        ("raw-packed", "ffcv-raw", "host"),
    ],
)
def test_stock_ffcv_sees_the_same_images(
    ours: str, peer: str, form: str, loader_benchmark: Run, tmp_path: Path
) -> None:
    options = (f"--ours={ours}", f"--against={peer}", f"--form={form}", f"--json={tmp_path}/ffcv.json")
    done = loader_benchmark(*options)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = record_checks.read(tmp_path / "ffcv.json")
    record_checks.check(record)
    assert (record["ours"], record["peer"], record["labels_equal"]) == (ours, peer, True)
    assert ("NOT in this figure" in record["form"]) == ours.endswith("packed")
    assert ("peer_data" in record) == (ours.partition("-")[0] != peer.removeprefix("ffcv-"))
    # The made-up photos are finely grained, and each side shrinks them to 16 px by a filter of its own; other
    # images than the same ones differ by some 50 levels.
    assert record["pixel_difference"] < 8


# Notes the process and how much of the file is in memory before anything of it is read.
NOTE = """
        from benchmarks.harness.images.file_cache import resident_share
        with open({notes!r}, "a") as notes:
            print({side!r}, os.getpid(), resident_share(task.beton), file=notes)
"""


@pytest.mark.slow
def test_first_epoch_rounds_are_processes_with_the_set_page_cache(
    cache: Path, tmp_path: Path, plain_side: Callable[[str, str], None]
) -> None:
    notes = tmp_path / "notes"
    for side in ("a", "b"):
        plain_side(side, NOTE.format(notes=str(notes), side=side))
    try:
        done = loader(
            [
                *TINY,
                "--images=48",
                "--cache=first,cold",
                "--ours=a",
                "--against=b",
                f"--json={tmp_path}/f.json",
            ]
        )
    except UserError as error:
        assert "stays in memory" in str(error)
        pytest.skip(f"the temporary folder is in memory: {error}")
    assert done == 0
    found = record_checks.read(tmp_path / "f.json")
    assert [record["cache"] for record in found] == ["first", "cold"]
    for record in found:
        record_checks.check(record)
    opened = [line.split() for line in notes.read_text().splitlines()]
    # A neighbour in need of memory may take some pages at any time.
    filled = [side for side, _, share in opened if float(share) > 0.5]
    dropped = [side for side, _, share in opened if float(share) < 0.01]
    assert len(filled) + len(dropped) == len(opened)
    for sides in (filled, dropped):
        # Each side's last process only gives its pixels.
        assert sides[-12:] == ["a", "b"] * 6
    assert len({pid for _, pid, _ in opened}) == len(opened)


@pytest.mark.gpu
@pytest.mark.slow
def test_gpu_batches_are_recorded(loader_benchmark: Run, tmp_path: Path) -> None:
    done = loader_benchmark("--form=cuda", "--against=ffcv-raw", f"--json={tmp_path}/gpu.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = record_checks.read(tmp_path / "gpu.json")
    assert [record["ours"] for record in found] == ["raw", "raw-packed"]
    for record in found:
        record_checks.check(record)
        assert (record["device"], record["labels_equal"]) == ("cuda", True)
        assert record["pixel_difference"] < 8
        assert record["machine"]["gpus"]


def test_failing_peer_is_recorded_and_the_next_one_runs(
    cache: Path,
    tmp_path: Path,
    plain_side: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bodies = {"broken": "raise RuntimeError('no such\\nluck')", "dead": "os._exit(7)"}
    monkeypatch.syspath_prepend(tmp_path)
    for name, body in bodies.items():
        (tmp_path / f"{name}_peer.py").write_text(f"import os\ndef open_side(task): {body}\n")
        side = Side(entry=f"{name}_peer:open_side", storage="jpeg")
        monkeypatch.setitem(PEERS["loader"], name, side)
    plain_side("sound", "pass")
    asked = ("--against=broken,dead", "--ours=sound", f"--json={tmp_path}/broken.json")
    assert loader([*TINY, *asked]) == 1
    found = record_checks.read(tmp_path / "broken.json")
    reasons = ["broken: RuntimeError: no such luck", "dead's process ended with code 7"]
    assert [record["error"] for record in found] == reasons
    printed = capsys.readouterr().out
    for record in found:
        assert (record["n"], record["ours_median"], record["ratio"]["median"]) == (0, None, None)
        assert f"failed: {record['error']}" in printed
    assert "failed" in (tmp_path / "broken.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("stage", ["loader", "startup"])
def test_missing_gpu_is_reported_with_exit_code_0(
    stage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(options, "_cuda_present", lambda: False)
    assert main([stage, "--form=cuda"]) == 0
    assert capsys.readouterr().out == "skipped: no CUDA device\n"


def test_first_epoch_with_too_few_images_is_refused(cache: Path) -> None:
    with pytest.raises(UserError, match="--cache first needs 40 images or more, not 12"):
        loader([*TINY, "--cache=first", "--against=self"])


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
        ("--form=tpu", "--form"),
        ("--cache=hot", "--cache"),
        ("--ours=yuv420-pack", "no side of ours 'yuv420-pack' (did you mean 'yuv420-packed'?)"),
        ("--data=/no/such/folder", "/no/such/folder does not exist"),
        ("--json=/no/such/folder/x.json", "/no/such/folder/x.json can't be written"),
        ("--json=table.md", "table.md"),
        ("--bogus", "--bogus"),
    ],
)
def test_bad_option_is_refused_in_one_line(option: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        loader([option])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_peer_exits_with_2_and_one_line(loader_benchmark: Run) -> None:
    done = loader_benchmark("--against=nobody")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no peer 'nobody'")
    assert done.stderr.count("\n") == 1
