"""`python -m benchmarks gpu a` and `gpu b`: all that should run on a lent GPU, in two commands of 330 s at most.

The most valuable comes first, and every step has a limit: a machine that is lent for minutes gives as many results as
possible. Records and logs are packed anew after each step, so that what was measured is there wherever it ends:
PART.tar.gz and PART.txt, its table, in --out. Part b is for after what a showed was mended. `scripts/gpu_pack.sh`
makes the folder .gpu to carry: wheels, the built C library, photos. With --rehearse, steps run in small and with four
times their limits on this machine, with a GPU or without: those that need one say so. Exit code 1: a step failed.
"""

import argparse
import io
import os
import shlex
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import arguments as opt
from benchmarks.harness.processes.watched import watch
from benchmarks.records.record_files import read
from engine.errors import UserError
from engine.files import atomic_write

PART_SECONDS = 330.0
"""A part's limit: of a command of 10 minutes on a machine whose start takes 1 to 2 of 15 minutes in all."""
MOST_LINES = 60
"""Of a part's table."""
PACK = Path(".gpu")
"""What scripts/gpu_pack.sh makes."""

_PATIENCE = 4
"""How many times as long a step may take in a rehearsal: on two busy cores three processes import torch for 40 s."""
_LEAST = 5.0
"""Seconds: with less time left a step is not begun."""
_GRACE = 3.0
"""Seconds for a late step to end by itself."""
_NO_TESTS, _NO_GPU = 5, 2
"""Exit codes of pytest without a test to run, and of a stage without a GPU: right in a rehearsal without one."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command behind `python -m`, its limit in seconds, and the options that make it small in a rehearsal."""

    name: str
    command: str
    limit: float
    small: str = ""
    records: bool = True
    """Whether it writes records (--json)."""
    photos: bool = False
    """Whether it takes --data."""


def _tests(name: str, files: str, limit: float) -> Step:
    # Each file apart: one that hangs takes no other with it.
    command = f"pytest -m gpu -q --no-header --tb=short -p no:cacheprovider {files}"
    return Step(name=name, command=command, limit=limit, records=False)


_SMALL_STEP = "--arch small_resnet --resolution 32 --batch 4 --seconds 0.02"

PARTS: dict[str, list[Step]] = {
    "a": [
        Step(name="doctor", command="engine doctor", limit=15, records=False),
        Step(name="copy", command="benchmarks copy --batch 1024 --seconds 0.2", limit=15),
        _tests("tests-resize", "tests/data/gpu/test_resize.py", 25),
        _tests("tests-blur", "tests/models/test_triton_blur.py", 20),
        _tests(
            "tests-loader",
            "tests/data/loading/test_gpu.py tests/data/loading/test_meters.py tests/data/loading/test_in_flight.py",
            25,
        ),
        _tests("tests-waiting", "tests/train/step/test_no_waiting.py", 30),
        _tests("tests-memory", "tests/train/step/test_memory_fit.py", 15),
        Step(
            name="resize",
            command="benchmarks resize --resolution 128,224 --seconds 0.2",
            limit=25,
            photos=True,
        ),
        Step(
            name="step-eager",
            command="benchmarks step --against ffcv-imagenet --blurpool on --compile off --resolution 160,224 "
            "--batch 512 --seconds 0.3",
            limit=45,
            small=_SMALL_STEP,
        ),
        Step(
            name="graphs",
            command="benchmarks techniques --only 'CUDA graphs' --arch small_resnet --resolution 32 --batch 512 "
            "--seconds 0.2",
            limit=20,
            small="--only Nesterov --resolution 16 --batch 8 --seconds 0.01",
        ),
        Step(
            name="step-compiled",
            command="benchmarks step --against ffcv-imagenet --blurpool on --compile on --resolution 160 "
            "--batch 512 --seconds 0.3",
            limit=80,
            small=f"{_SMALL_STEP} --compile off",
        ),
    ],
    "b": [
        Step(
            name="step-compiled-224",
            command="benchmarks step --against ffcv-imagenet --blurpool on --compile on --resolution 224 "
            "--batch 512 --seconds 0.3",
            limit=75,
            small=f"{_SMALL_STEP} --compile off",
        ),
        Step(
            name="loader",
            # Against itself: a lent machine has no ffcv. 8192 images are eight batches.
            command="benchmarks loader --form cuda --ours jpeg,yuv420-packed --against self --resolution 128 "
            "--batch 1024 --scale 0.35 --seconds 1 --images 8192 --cores 16",
            limit=60,
            small="--form host --ours jpeg,yuv420 --seconds 0.05 --images 256 --batch 16 --cores 1",
            photos=True,
        ),
        Step(
            name="train",
            command="benchmarks train --against replay --ours yuv420 --images 10240",
            limit=50,
            small="--arch small_resnet --images 128 --batch 16 --resolution 32",
            photos=True,
        ),
        _tests("tests-nccl", "tests/train/ranks/test_nccl.py", 25),
        Step(
            name="roofline",
            command="benchmarks roofline --what step --resolution 224 --batch 512 --seconds 0.3",
            limit=25,
            small=_SMALL_STEP,
        ),
        Step(
            name="blurpool",
            command="benchmarks blurpool --resolution 192 --precision bf16 --batch 128 --seconds 0.1",
            limit=30,
            small="--resolution 16 --batch 4 --seconds 0.02 --arch resnet18",
        ),
        _tests("tests-run", "tests/train/test_run.py tests/cli/test_doctor.py tests/train/ranks", 45),
        _tests(
            "tests-rest",
            "tests/train/step/test_graphs.py tests/train/evaluation/test_eval_forward.py tests/benchmarks "
            "tests/train/test_techniques.py tests/train/step/test_step.py tests/models/test_stem.py "
            "tests/data/loading/test_gpu_jpeg.py",
            60,
        ),
    ],
}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a step ended, in words, and whether that is right."""

    name: str
    words: str
    seconds: float
    good: bool


def main(argv: Sequence[str]) -> int:
    """Run a part's steps and print its table; returns the exit code."""
    options = _parse(argv)
    begin, patience = time.monotonic(), _PATIENCE if options.rehearse else 1
    endings: list[Ending] = []
    with tempfile.TemporaryDirectory(prefix="gpu-") as name:
        work = Path(name)
        for step in PARTS[options.part]:
            left = options.seconds * patience - (time.monotonic() - begin)
            print(f"\n== {step.name}, {left:.0f} s left", flush=True)
            endings.append(_take(step, min(step.limit * patience, left), work, options))
            lines = table(options.part, endings, work, time.monotonic() - begin)
            _save(options.out, options.part, lines, work)
    print("\n" + "\n".join(lines))
    return 0 if all(ending.good for ending in endings) else 1


def words_of(step: Step, records: Path, *, rehearse: bool, data: Path | None = None) -> list[str]:
    """The command line of a step, behind the interpreter."""
    words = ["-m", *shlex.split(step.command)]
    if rehearse:
        # The last of two equal options counts.
        words += shlex.split(step.small)
    if step.records:
        words.append(f"--json={records}")
    if step.photos and data is not None:
        words.append(f"--data={data}")
    return words


def _take(step: Step, longest: float, work: Path, options: argparse.Namespace) -> Ending:
    if longest < _LEAST:
        return Ending(name=step.name, words="not begun: no time left", seconds=0.0, good=options.rehearse)
    records, log = work / f"{step.name}.json", work / f"{step.name}.log"
    command = [sys.executable, *words_of(step, records, rehearse=options.rehearse, data=options.data)]
    with log.open("w", encoding="utf-8") as file:

        def tell(line: str) -> None:
            file.write(line)
            print(line, end="", flush=True)

        run = watch(command, longest, tell=tell, grace=_GRACE)
    ending = f"exit code {run.code}" if run.in_time else f"ended at its limit of {longest:.0f} s"
    if run.in_time and run.seconds > step.limit:
        ending += f", more than the {step.limit:.0f} s that it has on a GPU machine"
    good = run.in_time and (run.code == 0 or (options.rehearse and run.code in (_NO_TESTS, _NO_GPU)))
    return Ending(name=step.name, words=f"{ending}: {run.last}", seconds=run.seconds, good=good)


def table(part: str, endings: Sequence[Ending], work: Path, seconds: float) -> list[str]:
    """What ran and what was measured, at most MOST_LINES lines."""
    lines = [f"gpu {part}: {len(endings)} of {len(PARTS[part])} steps in {seconds:.0f} s"]
    for ending in endings:
        mark = "ok  " if ending.good else "BAD "
        lines.append(f"{mark} {ending.name:<18} {ending.seconds:5.0f} s  {ending.words}"[:150])
    for ending in endings:
        path = work / f"{ending.name}.json"
        if path.exists():
            lines += [_figures(record) for record in read(path)]
    if len(lines) > MOST_LINES:
        lines[MOST_LINES - 1 :] = [f"... and {len(lines) - MOST_LINES + 1} lines more: see the records"]
    return lines


def _figures(record: dict[str, object]) -> str:
    """One record in a line."""
    if record.get("failed"):
        return f"{record['stage']}: {record.get('ours')} / {record.get('peer')}: {record['failed']}"[:150]
    ratio = record.get("ratio")
    measured = "no ratio"
    if isinstance(ratio, dict):
        measured = f"{ratio['median']:.3g} [{ratio['low']:.3g}, {ratio['high']:.3g}]"
    ours = record.get("ours_median")
    figure = f", ours {ours:.6g} {record.get('metric')}" if isinstance(ours, (int, float)) else ""
    at = f"{record.get('resolution')} px, {record.get('form') or record.get('case') or ''}"
    return f"{record['stage']}: {record.get('ours')} / {record.get('peer')} = {measured}{figure}; {at}"[:150]


def _save(out: Path, part: str, lines: Sequence[str], work: Path) -> None:
    """PART.txt, and PART.tar.gz with all that `work` holds: two files, whole at any time."""
    with atomic_write(out / f"{part}.txt") as file:
        file.write(("\n".join(lines) + "\n").encode())
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path in sorted(work.iterdir()):
            archive.add(path, arcname=f"gpu-{part}/{path.name}")
    with atomic_write(out / f"{part}.tar.gz") as file:
        file.write(packed.getvalue())


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("gpu", __doc__, " {a,b} [options]")
    add = parser.add_argument
    add("part", choices=sorted(PARTS), help="which part")
    add(
        "--out",
        type=Path,
        default=Path(os.environ.get("OUT") or "."),
        metavar="DIR",
        help="where the results go (default: $OUT, else this folder)",
    )
    add("--rehearse", action="store_true", help="everything in small, also without a GPU")
    add(
        "--seconds",
        type=opt.seconds,
        default=PART_SECONDS,
        help=f"limit of the part (default: {PART_SECONDS:g})",
    )
    parser.add_data()
    options = parser.parse_args(argv)
    if not options.out.is_dir():
        raise UserError(f"--out {options.out} is not a folder: create it, or give another one")
    carried = PACK / "photos"
    if options.data is None and carried.is_dir():
        options.data = carried
    opt.check_files(options.data, None)
    return options
