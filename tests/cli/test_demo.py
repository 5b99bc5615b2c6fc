"""`python -m engine demo`: what it refuses before it serves; tests/demo/test_demo_browser.py visits the page."""

import socket
import sys
from pathlib import Path

import pytest

from engine.cli.demo import _samples, main
from engine.errors import UserError
from engine.predict.trained import load_trained
from tests.predict.conftest import card, save_run


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--port", "http"], "'http' is no port"),
        (["--port", "70000"], "'70000' is no port"),
        (["--max-megabytes", "0"], "'0' is no whole number from 1 to 500"),
        (["second", "--to", "space"], "a Space holds one network"),
        (["--output", "folder"], "--output is for --to space"),
        (["--host", "192.0.2.1"], "192.0.2.1 is no address of this machine"),
    ],
)
def test_wrong_option_is_one_line(option: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        main(["no such run", *option])


def test_port_in_use_is_told_before_a_run_is_read() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(UserError, match="is in use: choose another with --port"),
    ):
        main(["no such run", "--port", str(other.getsockname()[1])])


def test_run_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none"):
        main([str(tmp_path / "none"), "--port", "0"])


def test_missing_streamlit_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("engine.demo")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "streamlit", None)
    with pytest.raises(UserError, match=r"pip install 'imagenet-engine\[demo\]'"):
        main(["no such run"])


def test_missing_validation_file_is_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = save_run(tmp_path / "run", card())
    trained = load_trained(run, device="cpu")
    assert _samples(None, trained) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: no samples on the page: ") and line.endswith("give a file with --val")
    with pytest.raises(UserError, match="none"):
        _samples(tmp_path / "none", trained)
