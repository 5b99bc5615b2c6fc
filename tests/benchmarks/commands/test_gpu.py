"""`python -m benchmarks gpu`: a GPU is lent for minutes only, so its two parts are checked without one."""

import importlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from benchmarks.commands import gpu
from benchmarks.commands.gpu import MOST_LINES, PART_SECONDS, PARTS, Ending, Step, main, table, words_of
from engine.errors import UserError

ROOT = Path(__file__).parents[3]
STEPS = [step for part in PARTS.values() for step in part]


def _tests_named() -> set[Path]:
    words = [word for step in STEPS for word in step.command.split() if word.startswith("tests/")]
    return {ROOT / word for word in words}


def test_names_are_unique_and_all_but_the_last_step_fit() -> None:
    assert len({step.name for step in STEPS}) == len(STEPS)
    for steps in PARTS.values():
        assert sum(step.limit for step in steps[:-1]) <= PART_SECONDS
        assert len(steps) <= MOST_LINES - 10


def test_every_gpu_test_is_in_a_part() -> None:
    named = _tests_named()
    assert all(path.exists() for path in named)
    marked = {
        path for path in (ROOT / "tests").rglob("test_*.py") if "\n@pytest.mark.gpu" in path.read_text()
    }
    missing = {path for path in marked if not ({path, *path.parents} & named)}
    # It tests this mark itself.
    assert {path.name for path in missing} <= {"test_conftest.py"}


@pytest.mark.parametrize("step", [step for step in STEPS if step.records], ids=lambda step: step.name)
@pytest.mark.parametrize("rehearse", [False, True], ids=["as it is", "in small"])
def test_stage_accepts_the_options_of_its_step(
    step: Step, rehearse: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = words_of(step, tmp_path / "records.json", rehearse=rehearse, data=tmp_path)
    assert words[:2] == ["-m", "benchmarks"]
    stage = importlib.import_module(f"benchmarks.stages.{words[2]}")
    # 16 cores and a GPU are there where it runs as it is.
    if hasattr(stage, "opt"):
        monkeypatch.setattr(stage.opt, "device_named", lambda name: "cpu")
        monkeypatch.setattr(stage.opt, "check_cores", lambda cores: None)
    assert stage._parse(words[3:]).json == tmp_path / "records.json"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps: one that ends well, one that doesn't end, and one that fails."""
    monkeypatch.setitem(
        PARTS,
        "a",
        [
            Step(name="good", command="calendar 2026 11", limit=60, records=False),
            Step(name="endless", command="http.server 0", limit=5.5, records=False),
            Step(name="failing", command="calendar none", limit=60, records=False),
        ],
    )


def test_steps_end_at_their_limit_and_all_results_are_packed(
    steps: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["a", f"--out={tmp_path}"]) == 1
    said = (tmp_path / "a.txt").read_text().splitlines()
    assert said[0].startswith("gpu a: 3 of 3 steps in ")
    assert said[1].startswith("ok   good") and "exit code 0" in said[1]
    assert said[2].startswith("BAD  endless") and "ended at its limit of 6 s" in said[2]
    assert said[3].startswith("BAD  failing") and "exit code" in said[3]
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        assert archive.getnames() == ["gpu-a/endless.log", "gpu-a/failing.log", "gpu-a/good.log"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "a.txt"]
    assert "\n".join(said) in capsys.readouterr().out


def test_step_without_time_left_is_not_begun(steps: None, tmp_path: Path) -> None:
    assert main(["a", f"--out={tmp_path}", "--seconds=1"]) == 1
    said = (tmp_path / "a.txt").read_text().splitlines()
    assert all("not begun: no time left" in line for line in said[1:]) and len(said) == 4


def test_rehearsed_step_may_take_longer_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow = Step(name="slow", command="timeit -n 1 -r 1 pass", limit=0.001, records=False)
    monkeypatch.setitem(PARTS, "a", [slow])
    monkeypatch.setattr(gpu, "_PATIENCE", 10**5)
    assert main(["a", f"--out={tmp_path}", "--rehearse"]) == 0
    assert "more than the 0 s that it has on a GPU machine" in (tmp_path / "a.txt").read_text()


def test_no_step_needs_what_a_lent_machine_lacks() -> None:
    """ffcv is not in the pack: its sides would fail, and with them ours, which is measured in turns with them."""
    loader = next(step for step in STEPS if step.name == "loader")
    assert "--against self" in loader.command and "ffcv" not in loader.command
    lines = (ROOT / "scripts" / "gpu_pack.sh").read_text().splitlines()
    packed = next(line for line in lines if line.startswith("packages="))
    assert "fastargs" in packed and "ffcv" not in packed.replace("fastargs", "")


def test_table_has_a_line_for_each_record_and_an_end(tmp_path: Path) -> None:
    committed = next((ROOT / "benchmarks" / "results").glob("step_2-cores_*.json"))
    shutil.copy(committed, tmp_path / "many.json")
    ending = Ending(name="many", words="exit code 0: done", seconds=3.0, good=True)
    few = table("a", [ending], tmp_path, 3.0)
    assert any(line.startswith("step: ours / ffcv-imagenet = 1.05 [0.985, 1.1]") for line in few)
    (tmp_path / "many.json").write_text(committed.read_text() * 20)
    lines = table("a", [ending], tmp_path, 3.0)
    assert len(lines) == MOST_LINES and lines[-1].endswith("lines more: see the records")
    assert all(len(line) <= 150 for line in lines)


def test_unknown_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--out \S+ is not a folder"):
        main(["a", f"--out={tmp_path / 'none'}"])


def test_make_runs_both_parts() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    dry = ["make", "--dry-run", "--no-print-directory", "gpu", "PYTHON=python3", "DATA=photos"]
    said = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.strip() for line in said if "benchmarks" in line] == [
        f"python3 -m benchmarks gpu {part} --data photos" for part in "ab"
    ]
