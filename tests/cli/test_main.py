"""`python -m engine VERB`: every verb of the table can be run, and a wrong one is answered in a line."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from engine.__main__ import VERBS, main, usage
from engine.errors import UserError

HEAVY = {"torch", "torchvision", "numba", "numpy", "PIL", "ffcv", "scipy"}


def run(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine", *arguments],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("verb", VERBS)
def test_verb_has_a_main_function_and_a_description(verb: str) -> None:
    module = importlib.import_module(f"engine.cli.{verb.replace('-', '_')}")
    assert callable(module.main)
    assert f"  {verb} " in usage() and VERBS[verb] in usage()


def test_every_file_of_cli_is_a_registered_verb(repository: Path) -> None:
    files = {path.stem.replace("_", "-") for path in repository.glob("engine/cli/*.py")} - {"--init--"}
    assert files == set(VERBS)
    assert list(VERBS) == sorted(VERBS)


@pytest.mark.parametrize("columns", ["60", "300"])
@pytest.mark.parametrize("verb", VERBS)
def test_verb_help_fits_100_columns(
    verb: str, columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"usage: python -m engine {verb} ")
    # The usage line is short; argparse does not wrap one that is given.
    assert max(map(len, lines[1:])) <= min(100, int(columns)) and len(lines[0]) <= 100


@pytest.mark.parametrize("verb", VERBS)
def test_verb_usage_error_is_one_line_and_imports_nothing_heavy(verb: str) -> None:
    program = (
        "import sys\nfrom engine.__main__ import main\nfrom engine.errors import UserError\n"
        f"try: main([{verb!r}, '--quite.unlike=1'])\nexcept UserError as error: print(error)\n"
        f"print(sorted({HEAVY!r} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    message, heavy = done.stdout.splitlines()
    assert "--help" in message and heavy == "[]"


def test_help_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.strip() == usage()


def test_missing_verb_prints_usage_and_returns_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "doctor" in capsys.readouterr().err


def test_unknown_verb_is_refused_with_the_nearest_name(repository: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'doctor'"):
        main(["docter"])
    done = run(repository, "docter")
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown verb 'docter'") and done.stderr.count("\n") == 1


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, engine.__main__ as m; m.main(['--help']); print({HEAVY!r} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
