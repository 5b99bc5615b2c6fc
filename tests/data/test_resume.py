"""However a conversion ends, the same command goes on, and the files are those of one that was never interrupted."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.config.write_schema import OutputConfig, RulesConfig, SourceConfig, WriteConfig
from engine.data import partial
from engine.data.convert import convert
from engine.data.journal import Entry, Journal
from engine.errors import UserError

Capture = pytest.CaptureFixture[str]

PARTS = [f"{split}.beton.partial{end}" for split in ("train", "val") for end in ("", ".journal")]

# Converts over and over, each time in a process of its own that is killed at a random moment, until so many were:
# OUT EXPECTED KILLS, then options. Prints how many runs went on with images of one before.
_KILLER = """
import contextlib, os, random, shutil, signal, sys, tempfile, time
from pathlib import Path
import psutil
from engine.config.load import load_write_config
from engine.data import partial
from engine.data.convert import convert
from engine.errors import run_cli

partial.KEEP_SECONDS = 0.0
out, expected, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
config = load_write_config(sys.argv[4:])
workers = config.output.num_workers
files = {name: (expected / name).read_bytes() for name in ("train.beton", "val.beton")}
random.seed(kills)

def start():
    # A log of its own for each: what an earlier, killed one left running may still complain in its.
    global log
    log = tempfile.TemporaryFile()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        run_cli(lambda: convert(config) and 0)
    return pid

def wait(pid):
    global went_on
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    log.seek(0)
    text = log.read().decode()
    went_on += ": going on from image " in text
    if code == 2:
        assert "\\nerror: an encoding process was killed" in "\\n" + text, text
    # A worker that is being started when its parent is killed, or gives up since another was, may complain.
    assert code < 0 or "Traceback" not in text or "EOFError: Ran out of input" in text, text
    return code

def check_names():
    for name, content in files.items():
        assert not (out / name).exists() or (out / name).read_bytes() == content, name

def workers_of(process):
    found = []
    for child in process.children():
        # One that ends meanwhile is none.
        with contextlib.suppress(psutil.NoSuchProcess):
            # Nor is the resource tracker, nor a child that has still this process's own command line.
            if "--multiprocessing-fork" in child.cmdline():
                found.append(child)
    return found

def kill_a_worker(pid):
    # A worker's death is told by the conversion itself.
    process, children = psutil.Process(pid), []
    while not children:
        if process.status() == psutil.STATUS_ZOMBIE:
            return wait(pid) != 0
        children = workers_of(process)
    with contextlib.suppress(psutil.NoSuchProcess):
        random.choice(children).kill()
    began = time.monotonic()
    code = wait(pid)
    assert time.monotonic() - began < 15
    # 0: it had no work left.
    assert code in (0, 2), code
    return code == 2

killed = of_workers = went_on = 0
began = time.monotonic()
assert wait(start()) == 0
usual = time.monotonic() - began
check_names()
shutil.rmtree(out)
while killed < kills:
    pid = start()
    moment = random.uniform(0.1, 1) * usual
    time.sleep(moment)
    if sorted(os.listdir(out) if out.exists() else []) == sorted(files):
        # It was quicker than the kill.
        usual = moment
        assert wait(pid) == 0
        check_names()
        shutil.rmtree(out)
        continue
    killed += 1
    if workers > 1 and killed % 2:
        of_workers += kill_a_worker(pid)
    else:
        os.kill(pid, signal.SIGKILL)
        assert wait(pid) in (0, -signal.SIGKILL)
    if out.exists():
        check_names()
        if sorted(os.listdir(out)) == sorted(files):
            # It came to its end before the kill did.
            shutil.rmtree(out)
if not out.exists() or sorted(os.listdir(out)) != sorted(files):
    assert wait(start()) == 0
check_names()
assert sorted(os.listdir(out)) == sorted(files)
print(went_on, of_workers)
"""


def _convert(
    source: Path, folder: Path, rules: dict[str, str] | None = None, **output: Any
) -> dict[str, bytes]:
    """Convert in this process; the content of both files."""
    options: dict[str, Any] = {"num_workers": 1, "order": "source"} | output
    paths = convert(
        WriteConfig(
            source=SourceConfig(path=str(source)),
            rules=RulesConfig(**(rules or {})),  # type: ignore[arg-type]
            output=OutputConfig(folder=str(folder), **options),
        )
    )
    return {split: path.read_bytes() for split, path in paths.items()}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def broken(pets: Path, tmp_path: Path) -> Path:
    """A source whose last training image is empty, and `out`, where a conversion of it has ended at that image."""
    (pets / "train/dog/zzz.jpg").touch()
    with pytest.raises(UserError, match=r"train/dog/zzz\.jpg"):
        _convert(pets, tmp_path / "out")
    assert _names(tmp_path / "out") == PARTS
    return pets


# --- kill -9


def _killed_at_random(source: Path, folder: Path, kills: int, workers: int) -> tuple[int, int]:
    """How many of the runs went on with an earlier one's work, and how many of the killed were workers."""
    expected = folder / "expected"
    options: dict[str, Any] = {"format": "proportion", "order": "shuffled", "num_workers": workers}
    _convert(source, expected, {"empty": "skip"}, **options)
    arguments = [f"--source.path={source}", f"--output.folder={folder}/out", "--rules.empty=skip"]
    arguments += [f"--output.{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        [sys.executable, "-c", _KILLER, str(folder / "out"), str(expected), str(kills), *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    went_on, of_workers = done.stdout.split()
    return int(went_on), int(of_workers)


@pytest.fixture
def many(pets: Path) -> Path:
    """Some hundred images, most of them copies, two of them empty: so many that most kills meet their encoding."""
    for number in range(900):
        shutil.copy(pets / f"train/cat/{number % 25:03d}.jpg", pets / f"train/dog/more{number}.jpg")
    (pets / "train/cat/empty.jpg").touch()
    (pets / "val/dog/empty.jpg").touch()
    return pets


def test_kill_9_at_any_moment_changes_no_byte(many: Path, tmp_path: Path) -> None:
    went_on, _ = _killed_at_random(many, tmp_path, kills=20, workers=1)
    assert went_on >= 4, "runs that were killed had got somewhere"


@pytest.mark.slow
def test_kill_9_of_the_parent_or_a_worker_changes_no_byte(many: Path, tmp_path: Path) -> None:
    # So many that encoding takes about as long as starting workers, and kills meet either.
    for number in range(5000):
        shutil.copy(many / f"train/cat/{number % 25:03d}.jpg", many / f"train/dog/still_more{number}.jpg")
    went_on, of_workers = _killed_at_random(many, tmp_path, kills=20, workers=2)
    assert went_on >= 1 and of_workers >= 3


# --- going on


def test_an_error_keeps_what_is_done_and_the_same_command_goes_on(
    broken: Path, tmp_path: Path, capsys: Capture
) -> None:
    with pytest.raises(UserError, match=r"train/dog/zzz\.jpg"):
        _convert(broken, tmp_path / "out")
    assert capsys.readouterr().out.splitlines() == [
        "train: going on from image 32 of 41 (interrupted run)",
        f"kept in {tmp_path}/out: 7 of 7 of val, 32 of 41 of train; the same command goes on from there",
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rule_that_no_image_before_was_under_may_change(
    broken: Path, tmp_path: Path, capsys: Capture, workers: int
) -> None:
    rules = {"empty": "skip", "cmyk": "skip", "duplicate": "keep"}
    found = _convert(broken, tmp_path / "out", rules, num_workers=workers)
    assert "train: going on from image 32 of 41 (interrupted run)\n" in capsys.readouterr().out
    assert found == _convert(broken, tmp_path / "fresh", rules)
    assert _names(tmp_path / "out") == ["train.beton", "val.beton"]


def test_a_rule_that_an_image_before_was_under_starts_it_anew(
    broken: Path, tmp_path: Path, capsys: Capture
) -> None:
    # The images of 1 x 1 pixel are copies of each other or of some in val.
    rules = {"empty": "skip", "duplicate": "skip"}
    found = _convert(broken, tmp_path / "out", rules)
    out = capsys.readouterr().out
    assert re.search(
        r"val: starting anew, .*partial: it was begun with another value of rules\.duplicate", out
    )
    assert "train: starting anew, " in out and "going on from" not in out
    assert found == _convert(broken, tmp_path / "fresh", rules)


@pytest.mark.parametrize(
    "options",
    [{"jpeg_quality": 91}, {"order": "shuffled"}, {"seed": 1, "format": "proportion"}, {"license": "x"}],
)
def test_other_settings_start_it_anew(
    broken: Path, tmp_path: Path, capsys: Capture, options: dict[str, Any]
) -> None:
    found = _convert(broken, tmp_path / "out", {"empty": "skip"}, **options)
    assert "train: starting anew, not going on with" in capsys.readouterr().out
    assert found == _convert(broken, tmp_path / "fresh", {"empty": "skip"}, **options)


def test_other_images_start_it_anew(broken: Path, tmp_path: Path, capsys: Capture) -> None:
    (broken / "train/dog/zzz.jpg").unlink()
    found = _convert(broken, tmp_path / "out")
    out = capsys.readouterr().out
    assert "train: starting anew" in out and "val: starting anew" not in out
    assert found == _convert(broken, tmp_path / "fresh")


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("damage", ["removed", "emptied", "cut short", "overwritten"])
def test_whatever_became_of_its_parts_the_files_are_the_same(
    broken: Path, tmp_path: Path, name: str, damage: str
) -> None:
    path = tmp_path / "out" / name
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "cut short":
        path.write_bytes(content[: len(content) * 2 // 3])
    elif name.endswith(".journal"):
        path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    else:
        # The head is written last; what lies there before, and behind the end, is nobody's.
        path.write_bytes(b"x" * 1000 + content[1000:] + b"x" * 5000)
    found = _convert(broken, tmp_path / "out", {"empty": "skip"})
    assert found == _convert(broken, tmp_path / "fresh", {"empty": "skip"})
    assert _names(tmp_path / "out") == ["train.beton", "val.beton"]


@pytest.mark.parametrize("renamed", [["val"], ["train", "val"]])
def test_it_goes_on_after_an_end_amid_the_renaming(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: list[str]
) -> None:
    rename, forget = partial.Partial.rename, partial.Partial.forget

    def ending(self: partial.Partial) -> None:
        if not any(self.path.name.startswith(split) for split in renamed):
            raise KeyboardInterrupt
        rename(self)

    def interrupted(self: partial.Partial) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(partial.Partial, "rename", ending)
    monkeypatch.setattr(partial.Partial, "forget", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _convert(pets, tmp_path / "out")
    assert {f"{split}.beton" for split in renamed} <= set(_names(tmp_path / "out"))
    monkeypatch.setattr(partial.Partial, "rename", rename)
    monkeypatch.setattr(partial.Partial, "forget", forget)
    assert _convert(pets, tmp_path / "out") == _convert(pets, tmp_path / "fresh")
    assert _names(tmp_path / "out") == ["train.beton", "val.beton"]


def _ended_after_one_journal(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that ends when both files have their names and the first journal is gone."""
    forget = partial.Partial.forget

    def interrupted(self: partial.Partial) -> None:
        if not self.path.name.startswith("val"):
            raise KeyboardInterrupt
        forget(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(partial.Partial, "forget", interrupted)
        _convert(source, folder)
    assert _names(folder) == ["train.beton", "train.beton.partial.journal", "val.beton"]


def test_an_end_amid_the_removal_of_journals_leaves_whole_files(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    _ended_after_one_journal(pets, tmp_path / "out", monkeypatch)
    assert _convert(pets, tmp_path / "out") == _convert(pets, tmp_path / "fresh")
    assert "both files in" in capsys.readouterr().out
    assert _names(tmp_path / "out") == ["train.beton", "val.beton"]


def test_it_is_another_command_that_finds_a_journal_beside_whole_files(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ended_after_one_journal(pets, tmp_path / "out", monkeypatch)
    before = (tmp_path / "out" / "val.beton").read_bytes()
    with pytest.raises(UserError, match=r"val\.beton is there already"):
        _convert(pets, tmp_path / "out", seed=5)
    assert (tmp_path / "out" / "val.beton").read_bytes() == before


def test_a_file_that_only_has_the_name_is_not_taken_for_its_own(
    broken: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    (out / "val.beton.partial").unlink()
    (out / "val.beton").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"val\.beton is there already"):
        _convert(broken, out, {"empty": "skip"})
    assert (out / "val.beton").read_bytes() == b"precious"
    found = _convert(broken, out, {"empty": "skip"}, overwrite=True)
    assert found == _convert(broken, tmp_path / "fresh", {"empty": "skip"})


def test_overwriting_goes_on_too(broken: Path, tmp_path: Path, capsys: Capture) -> None:
    old = tmp_path / "out/train.beton"
    old.write_bytes(b"old")
    with pytest.raises(UserError, match="is there already"):
        _convert(broken, tmp_path / "out")
    with pytest.raises(UserError, match="zzz"):
        _convert(broken, tmp_path / "out", overwrite=True)
    assert old.read_bytes() == b"old"
    _convert(broken, tmp_path / "out", {"empty": "skip"}, overwrite=True)
    assert capsys.readouterr().out.count("train: going on from image 32 of 41") == 2
    assert old.read_bytes() != b"old"


@pytest.mark.parametrize("finished", [["val"], ["train"], ["train", "val"]])
def test_a_command_that_is_refused_leaves_all_as_it_was(
    broken: Path, tmp_path: Path, capsys: Capture, finished: list[str]
) -> None:
    out = tmp_path / "out"
    for split in finished:
        (out / f"{split}.beton").write_bytes(b"finished long ago")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UserError, match=rf"{finished[-1]}\.beton is there already"):
        _convert(broken, out, {"empty": "skip"}, seed=3, format="raw")
    assert "starting anew" not in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    found = _convert(broken, out, {"empty": "skip"}, overwrite=True)
    assert "train: going on from image 32 of 41" in capsys.readouterr().out
    assert found == _convert(broken, tmp_path / "fresh", {"empty": "skip"})


def test_a_disk_that_is_too_small_for_other_settings_leaves_all_as_it_was(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr("engine.data.convert.LEAST_IMAGES", 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(UserError, match="and the files need about"):
        _convert(broken, out, {"empty": "skip"}, format="raw")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_shard_goes_on_by_itself(broken: Path, tmp_path: Path, capsys: Capture) -> None:
    before = {name: (tmp_path / "out" / name).read_bytes() for name in PARTS}
    with pytest.raises(UserError, match="zzz"):
        _convert(broken, tmp_path / "out", shard="2/2")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in PARTS} == before
    found = _convert(broken, tmp_path / "out", {"empty": "skip"}, shard="2/2")
    assert "train: going on from image 16 of 21" in capsys.readouterr().out
    assert found == _convert(broken, tmp_path / "fresh", {"empty": "skip"}, shard="2/2")


# --- two at once


def test_a_second_conversion_to_the_same_place_is_refused(pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with partial.Partial(out / "train.beton"):
        with pytest.raises(UserError, match=r"another conversion is writing train\.beton in .*out: wait for"):
            _convert(pets, out)
        assert _names(out) == ["train.beton.partial.journal"]
    assert _names(out) == []
    _convert(pets, out)


# --- the journal


def test_a_journal_gives_back_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.partial.journal"
    journal = Journal(path)
    assert list(journal.entries()) == []
    journal.start()
    entries = [
        Entry(done=0, fingerprint="f", rules={"a": "b"}),
        Entry(done=3, offset=7, rejects=[("\udcff.jpg", "empty", "why")], odd={"empty": 1}),
        Entry(done=4, offset=9, finished=(5, 6)),
    ]
    for entry in entries:
        journal.append(entry)
    journal.close()
    whole = path.read_bytes()

    def read() -> list[Entry]:
        journal = Journal(path)
        try:
            return list(journal.entries())
        finally:
            journal.close()

    def same(one: Entry, other: Entry) -> bool:
        return vars(one) | {"stored": 0} == vars(other) | {"stored": 0} and np.array_equal(
            one.stored, other.stored
        )

    found = [0] * 4
    for length in range(len(whole), -1, -1):
        path.write_bytes(whole[:length])
        back = read()
        assert all(map(same, back, entries))
        found[len(back)] += 1
        # What was cut short is gone, so that the next entry follows the last whole one.
        assert path.stat().st_size <= length
    assert found[3] == 1 and all(found)
    damaged = bytearray(whole)
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert len(read()) == 2


def test_a_journal_is_locked_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.partial.journal"
    journal = Journal(path)
    with pytest.raises(UserError, match="another conversion is writing x in"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_no_descriptor_or_thread_stays_behind(pets: Path, tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd")) + len(os.listdir("/proc/self/task"))

    _convert(pets, tmp_path / "0")
    before = count()
    for number in range(1, 4):
        _convert(pets, tmp_path / str(number))
    assert count() <= before
