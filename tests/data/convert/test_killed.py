"""Conversions killed at random moments, parent or worker: the same command goes on, and changes no byte."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.data.conversions import converted

# Converts over and over, each time in a process of its own that is killed at a random moment, until so many were:
# OUT EXPECTED KILLS, then options. Prints how many runs went on with images of one before.
_KILLER = """
import contextlib, os, random, shutil, signal, sys, tempfile, time
from pathlib import Path
import psutil
from engine.config.load import load_write_config
from engine.data.convert import partial_file
from engine.data.convert.conversion import convert
from engine.errors import run_cli

partial_file.KEEP_SECONDS = 0.0
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
    went_on += ": resuming at image " in text
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


def _killed_at_random(source: Path, folder: Path, kills: int, workers: int) -> tuple[int, int]:
    """How many of the runs went on with an earlier one's work, and how many of the killed were workers."""
    expected = folder / "expected"
    options: dict[str, Any] = {"format": "proportion", "order": "shuffled", "num_workers": workers}
    converted(source, expected, {"empty": "skip"}, **options)
    arguments = [f"--source.path={source}", f"--output.folder={folder}/out", "--rules.empty=skip"]
    arguments += [f"--output.{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        [sys.executable, "-c", _KILLER, str(folder / "out"), str(expected), str(kills), *arguments],
        cwd=Path(__file__).parents[3],
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
