"""A process that trains as often as it is asked to: importing torch takes longer than a tiny run.

python -m tests.trainer_process       train_imagenet.py, for each line of stdin, which are its options as JSON
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[1]

Train = Callable[[list[str]], str]
"""Takes a run's options; returns what it printed."""


@contextmanager
def trainer_process(module: str = "tests.trainer_process", **environment: str) -> Iterator[Train]:
    """Such a process, for the block; fails with what was printed where a run ends with another code than 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=_ROOT,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin and process.stdout
    given, taken = process.stdin, process.stdout

    def train(argv: list[str]) -> str:
        given.write(json.dumps(argv) + "\n")
        given.flush()
        printed = ""
        for line in taken:
            if line.startswith("ended with "):
                assert line == "ended with 0\n", printed
                return printed
            printed += line
        raise AssertionError(printed)

    try:
        yield train
    finally:
        process.communicate("")


def after_first_of_two_epochs(run: Path, copy: Path) -> Path:
    """A copy of a finished run of two epochs, as it was after the first."""
    shutil.copytree(run, copy)
    later = [*copy.glob("checkpoints/epoch_002_*"), *copy.glob("weights*"), *copy.glob("*.safetensors")]
    for file in (copy / "checkpoints/last.pt", *later):
        file.unlink()
    rows = (copy / "log.jsonl").read_text().splitlines(keepends=True)
    (copy / "log.jsonl").write_text("".join(row for row in rows if json.loads(row)["kind"] != "result"))
    return copy


def serve(counted: Mapping[str, int] | None = None) -> None:
    """Train by each line of stdin; prints also `counted` after each run."""
    import train_imagenet

    for line in sys.stdin:
        sys.argv[1:] = json.loads(line)
        code = train_imagenet.main()
        print(f"counted {json.dumps(dict(counted or {}))}\nended with {code}", flush=True)


if __name__ == "__main__":
    serve()
