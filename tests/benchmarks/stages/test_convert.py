"""The convert stage: both sides convert the same images, and a record holds the result."""

from pathlib import Path

import pytest

from benchmarks.harness.processes import conversions
from benchmarks.harness.processes.conversions import Conversion, Took
from benchmarks.sides import Side
from benchmarks.stages.convert import CASES, main
from engine.errors import UserError
from tests.benchmarks import record_checks

SMALL = ("--seconds=0.01", "--workers=1")


@pytest.mark.slow
def test_both_sides_convert_and_are_recorded(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One conversion of each side is a real one; the rounds after it have its figures.
    real: dict[str, Took] = {}

    def run(side: Side, conversion: Conversion) -> Took:
        name = side.entry
        real[name] = real[name] if name in real else run_side(side, conversion)
        return real[name]

    run_side = conversions.run
    monkeypatch.setattr(conversions, "run", run)
    (tmp_path / "work").mkdir()
    arguments = [*SMALL, f"--data={folder}", f"--folder={tmp_path}/work", f"--json={tmp_path}/c.json"]
    assert main([*arguments, "--case=all kept"]) == 0
    (record,) = record_checks.read(tmp_path / "c.json")
    record_checks.check(record)
    assert (record["stage"], record["metric"]) == ("convert", "images_per_second")
    assert (record["case"], record["ours"], record["peer"]) == ("all kept", "jpeg", "ffcv-jpeg")
    # Ours has the validation images, too.
    assert record["ours_images"] > record["peer_images"] >= 10
    assert len(record["pinned_to"]) == record["cores"]
    assert record["ours_cpu_ms_per_image"] > 0 and record["peer_cpu_ms_per_image"] > 0
    assert "| jpeg | ffcv-jpeg | all kept" in capsys.readouterr().out
    assert "synced to the disk" in " ".join((tmp_path / "c.md").read_text(encoding="utf-8").split())
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--case=al kept", "no case 'al kept'.*all kept"),
        ("--workers=5000", "--workers"),
        ("--data=nowhere", "nowhere does not exist"),
        ("--folder=nowhere", "nowhere is not a folder"),
        ("--against=ffcw", "no peer 'ffcw' .did you mean 'ffcv'"),
        ("--seconds=nan", "invalid number of seconds"),
        ("--seconds=-1", "invalid number of seconds"),
    ],
)
def test_bad_option_is_refused_in_one_line(argument: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        main([argument])


def test_bad_image_is_named_by_the_users_path(folder: Path, tmp_path: Path) -> None:
    (folder / "deep" / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(UserError) as caught:
        main([f"--data={folder}", "--case=all kept", f"--json={tmp_path}/r.json", *SMALL])
    assert str(caught.value) == (
        f"cannot use image {folder}/deep/broken.jpg: it is not an image in a format known here: remove it"
    )
    assert not (tmp_path / "r.json").exists()


def test_cases_have_the_same_settings_on_both_sides() -> None:
    for case in CASES.values():
        assert case.ours["max_resolution"] == case.theirs.get("max_resolution", 0) == case.resolution
        assert case.ours.get("jpeg_quality") == case.theirs.get("jpeg_quality")
        assert case.peer == ("ffcv-jpeg" if case.theirs["write_mode"] == "jpg" else "ffcv-raw")
