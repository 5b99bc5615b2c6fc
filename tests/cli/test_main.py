"""`python -m engine VERB`: every verb of the table can be run, and a wrong one is answered in a line."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from engine.__main__ import VERBS, main, usage
from engine.errors import UserError


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
    target, text = VERBS[verb]
    module, _, function = target.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert text and "\n" not in text
    assert f"{verb} " in usage() and text in usage()


@pytest.mark.parametrize("verb", VERBS)
def test_verb_help_fits_100_columns(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert "usage" in capsys.readouterr().out


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
    code = "import sys, engine.__main__ as m; m.main(['--help']); print({'torch', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
