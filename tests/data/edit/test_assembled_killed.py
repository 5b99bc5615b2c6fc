"""A merge or subset that is killed leaves one file at most, which the next attempt replaces; two never share one."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.merge import main as merge
from engine.cli.subset import main as subset
from engine.data.beton.reader import open_beton
from engine.data.convert.partial_file import journal_path
from engine.errors import UserError
from engine.files import open_locked
from tests.data.edit.test_merge import contents
from tests.data.made import make

# Ends without a word when all records are copied and nothing else is written: OPTIONS of python -m engine.
_KILLED = """
import os, signal, sys
from engine.__main__ import main
from engine.data.beton.writer import BetonWriter

def die(writer, manifest):
    writer.file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

BetonWriter.finish = die
main(sys.argv[1:])
"""


@pytest.mark.parametrize("verb", ["merge", "subset"])
def test_killed_edit_leaves_one_file_replaced_by_the_next(
    tmp_path: Path, repository: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    beton = make(tmp_path / "1.beton", [0, 1, 2], side=200)
    output = tmp_path / "x.beton"
    options = [str(output), str(beton.path), *(["--count=3"] if verb == "subset" else [])]
    for _ in range(2):
        command = [sys.executable, "-c", _KILLED, verb, *options]
        done = subprocess.run(command, cwd=repository, timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL
        assert sorted(path.name for path in tmp_path.iterdir()) == ["1.beton", "x.beton.partial-copy"]
    assert (tmp_path / "x.beton.partial-copy").stat().st_size > 3 * 200 * 200 * 3
    assert (merge if verb == "merge" else subset)(options) == 0
    assert f"{output}.partial-copy was left by a killed process" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.beton", "x.beton"]
    assert contents(open_beton(output)) == contents(beton)


def test_second_writer_of_one_file_is_refused_without_damage(tmp_path: Path) -> None:
    beton = make(tmp_path / "1.beton", [0, 1])
    with open_locked(tmp_path / "x.beton.partial-copy") as other:
        other.write(b"of another process")
        other.flush()
        with pytest.raises(
            UserError, match=r"another process is writing .*x\.beton: wait until it has finished"
        ):
            merge([str(tmp_path / "x.beton"), str(beton.path)])
        assert (tmp_path / "x.beton.partial-copy").read_bytes() == b"of another process"


def test_edit_over_interrupted_conversion_is_refused(tmp_path: Path) -> None:
    beton = make(tmp_path / "1.beton", [0, 1])
    journal_path(tmp_path / "x.beton").touch()
    for run in (merge, lambda options: subset([*options, "--count=1"])):
        with pytest.raises(UserError, match=r"a conversion to .*x\.beton is under way or was interrupted"):
            run([str(tmp_path / "x.beton"), str(beton.path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.beton", "x.beton.partial.journal"]
