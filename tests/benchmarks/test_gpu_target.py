"""`make gpu`: a GPU is lent for minutes only, so its commands are checked without one."""

import importlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


# Of nine minutes, what the parts without a limit may take: tests, resize, loader.
LIMITS = 480


@pytest.fixture(scope="module")
def commands() -> dict[str, tuple[int, list[str]]]:
    """By the name that a failure is told by: the limit in seconds (0: none), and the command behind `python -m`."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    dry = ["make", "--dry-run", "--no-print-directory", "gpu", "PYTHON=python", "DATA=photos"]
    told = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # What comes before looks for a GPU.
    told = told.partition("failed=;")[2]
    found = re.findall(
        r"(?:timeout -s INT (\d+) )?python -m (.+?) \|\| .*?failed=\"\$failed (\S+)\"", _one_line(told)
    )
    return {name: (int(limit or 0), shlex.split(command)) for limit, command, name in found}


def _one_line(text: str) -> str:
    return " ".join(text.replace("\\\n", " ").split())


def test_target_runs_tests_and_every_gpu_stage(
    commands: dict[str, tuple[int, list[str]]],
) -> None:
    assert commands.pop("tests") == (0, ["pytest", "-m", "gpu"])
    stages = [words[1] for _, words in commands.values()]
    assert set(stages) == {"resize", "loader", "step", "overhead", "blurpool", "augment", "techniques"}
    assert sum(limit for limit, _ in commands.values()) <= LIMITS


def test_each_record_has_its_own_file(commands: dict[str, tuple[int, list[str]]]) -> None:
    files = {
        name: words[words.index("--json") + 1] for name, (_, words) in commands.items() if "--json" in words
    }
    assert all(file.startswith(f"benchmarks/results/{name}_") for name, file in files.items())
    assert set(files) == set(commands) - {"tests"}


@pytest.mark.parametrize(
    "name", ["step", "step-without-blurpool", "overhead", "blurpool", "augment", "techniques"]
)
def test_stage_accepts_its_options(
    commands: dict[str, tuple[int, list[str]]], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    _, words = commands[name]
    module = importlib.import_module(f"benchmarks.stages.{words[1]}")
    assert module._parse(words[2:]).json == Path(words[words.index("--json") + 1])
