"""`--help` of both scripts: every option once, by section, in short lines; and the options page is the same schema."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import options_page
from engine.config.command_line import WIDTH
from engine.config.load import load_train_config, load_write_config
from engine.config.options import options_of, sections_of
from engine.config.train.train_config import TrainConfig
from engine.config.write import WriteConfig

SCRIPTS = [
    pytest.param("train_imagenet.py", load_train_config, TrainConfig, id="train"),
    pytest.param("write_dataset.py", load_write_config, WriteConfig, id="write"),
]
Load = Callable[[list[str]], object]


def shown(load: Load, capsys: pytest.CaptureFixture[str]) -> str:
    """The text that --help prints; it ends with exit code 0."""
    with pytest.raises(SystemExit) as caught:
        load(["--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("script", "load", "schema"), SCRIPTS)
def test_help_lists_every_option_once_in_its_section(
    script: str, load: Load, schema: type, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(load, capsys).splitlines()
    assert lines[0] == f"usage: {script} [-C FILE] [options]"
    section, found = "", []
    for line in lines:
        if line.startswith("  --"):
            assert line.split()[0].startswith(f"--{section}."), line
            found.append(line.split()[0].removeprefix("--"))
        elif line[:1].strip():
            section = line.split(":")[0]
    declared = [f"{name}.{key}" for name, each in sections_of(schema).items() for key in options_of(each)]
    assert found == declared


@pytest.mark.parametrize(("script", "load", "schema"), SCRIPTS)
def test_help_gives_text_unit_limits_and_default(
    script: str, load: Load, schema: type, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {}
    for entry in shown(load, capsys).split("\n  --")[1:]:
        option, _, text = entry.partition("\n\n")[0].partition("\n")
        entries[option.split()[0]] = " ".join(text.split())
    for name, section in sections_of(schema).items():
        for key, spec in options_of(section).items():
            entry = entries[f"{name}.{key}"]
            assert entry.startswith(f"{spec.help} [")
            for fact in (spec.unit, *spec.choices, spec.limits(), f"default {spec.default_text()}]"):
                assert fact in entry.removeprefix(spec.help), f"{name}.{key}: {fact}"


@pytest.mark.parametrize("columns", ["60", "300"])
@pytest.mark.parametrize(("script", "load", "schema"), SCRIPTS)
def test_help_fits_the_terminal_and_100_columns(
    script: str,
    load: Load,
    schema: type,
    columns: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert WIDTH == 100
    longest = max(map(len, shown(load, capsys).splitlines()))
    assert longest <= min(WIDTH, int(columns)) and longest > min(WIDTH, int(columns)) - 10


@pytest.mark.parametrize("section", [*sections_of(TrainConfig).values(), *sections_of(WriteConfig).values()])
def test_every_option_is_explained(section: type) -> None:
    for key, spec in options_of(section).items():
        assert len(spec.help.split()) > 1, key
        assert not spec.help.endswith(".") and spec.help == " ".join(spec.help.split()), key


@pytest.mark.parametrize("script", ["train_imagenet.py", "write_dataset.py"])
@pytest.mark.parametrize(("option", "code"), [("--help", 0), ("--no.such_option=1", 2)])
def test_help_and_usage_errors_import_nothing_heavy(
    script: str, option: str, code: int, repository: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", script, option],
        cwd=repository, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    imports = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.split("|")[-1].strip().split(".")[0] for line in imports}
    assert "engine" in imported
    assert not imported & {"torch", "torchvision", "numba", "numpy", "PIL", "ffcv", "scipy"}
    others = [line for line in done.stderr.splitlines() if line not in imports]
    assert len(others) == (1 if code else 0) and all(line.startswith("error: ") for line in others)


def test_options_page_is_current() -> None:
    written = options_page.PAGE.read_text(encoding="utf-8")
    assert written == options_page.page(), "run python -m engine.config.options_page"


def test_options_page_has_a_row_for_every_option() -> None:
    rows = [line.split("`")[1] for line in options_page.page().splitlines() if line.startswith("| `")]
    declared = [
        f"{name}.{key}"
        for schema in (TrainConfig, WriteConfig)
        for name, section in sections_of(schema).items()
        for key in options_of(section)
    ]
    assert rows == declared
