"""`python -m benchmarks loader`: images per second from a .beton to ready batches, our Loader against others'.

Both sides read the same file, crop by the same law, flip, and end in the same normalised tensors, with the
same batch size on the same cores. Exit code 1: a comparison failed, or `--against self` found a difference.
"""

import argparse
import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.images import Images, prepare
from benchmarks.method import LEAST_ROUNDS, compare, failed, figures
from benchmarks.peers import OURS, PEERS, find_peer
from benchmarks.peers.base import Task
from benchmarks.table import Record, page, table
from benchmarks.worker import ContenderError, Worker
from engine.errors import UserError
from engine.files import atomic_write
from engine.report.machine import machine, revision, versions

_FORM = {
    "cpu": "float32, normalised, NCHW in channels_last memory, on the host",
    "cuda": "float16, normalised, NCHW in channels_last memory, on the GPU",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison that is to be made."""

    peer: str
    cores: int
    resolution: int
    min_scale: float

    @property
    def storage(self) -> str:
        """How its images are stored, which is also the name of our side."""
        return find_peer(self.peer).storage

    def __str__(self) -> str:
        cores = f"{self.cores} core{'s' if self.cores > 1 else ''}"
        return (
            f"{self.storage} against {self.peer}, {self.resolution} px, scale {self.min_scale:g}-1, {cores}"
        )


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and write the records as asked for."""
    options = _parse(argv)
    if options.device == "cuda" and not _cuda_present():
        print("skipped: no CUDA device")
        return 0
    cases = _cases(options)
    context = _context(options)
    storages = sorted({case.storage for case in cases})
    images = {storage: prepare(options.data, storage, options.images) for storage in storages}
    for known in images.values():
        print(f"data: {known.identity}", flush=True)
    records: list[Record] = []
    for number, case in enumerate(cases, 1):
        print(f"[{number}/{len(cases)}] {case}:", end="", flush=True)
        measured = _measure(case, images[case.storage], options)
        records.append(_record(case, context, images[case.storage], measured))
        # After each one, so that an interrupted run leaves what it has measured.
        if options.json:
            _write(options.json, "".join(json.dumps(record) + "\n" for record in records))
            _write(options.json.with_suffix(".md"), page(records))
    print(f"\n{table(records)}")
    return 0 if all(map(_passed, records)) else 1


def _measure(case: Case, images: Images, options: argparse.Namespace) -> dict[str, Any]:
    task = Task(
        beton=images.beton,
        num_samples=images.num_samples,
        resolution=case.resolution,
        scale=(case.min_scale, 1.0),
        batch=options.batch,
        cores=case.cores,
        device=options.device,
    )
    try:
        with (
            Worker(case.storage, OURS[case.storage], task) as ours,
            Worker(case.peer, PEERS[case.peer], task) as peer,
        ):
            comparison = compare(
                ours,
                peer,
                rounds=options.rounds,
                seconds=options.seconds,
                batch=task.batch,
                images=task.num_samples,
                tell=lambda word: print(f" {word}", end="", flush=True),
            )
    except ContenderError as error:
        print(f" failed: {error}", flush=True)
        return failed(str(error))
    ratio = comparison.ratio
    print(f" -> {ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]", flush=True)
    return figures(comparison)


def _record(case: Case, context: Record, images: Images, measured: dict[str, Any]) -> Record:
    """One line of the file, in the format that ENGINEERING.md fixes; further keys follow."""
    return {
        "stage": "loader",
        "ours": case.storage,
        "peer": case.peer,
        "resolution": case.resolution,
        "scale": [case.min_scale, 1.0],
        "cores": case.cores,
        "cache": "warm",
        "metric": "images_per_second",
        **measured,
        "data": images.identity,
        **context,
    }


def _context(options: argparse.Namespace) -> Record:
    """What all records of a run share."""
    source = revision()
    changed = " with uncommitted changes" if source and source["dirty"] else ""
    return {
        "device": options.device,
        "form": _FORM[options.device],
        "batch": options.batch,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "revision": source["commit"] + changed if source else "unknown (not a git checkout)",
    }


def _passed(record: Record) -> bool:
    """Equals must come out equal; any other ratio is a finding, not a failure."""
    ratio = record["ratio"]
    return not record.get("error") and (record["peer"] != "self" or ratio["low"] <= 1 <= ratio["high"])


def _cases(options: argparse.Namespace) -> list[Case]:
    """Every combination that was asked for. Raises UserError for an unknown peer or cores that aren't there."""
    for peer in options.against:
        find_peer(peer)
    available = machine()["cores"]
    if max(options.cores) > available:
        raise UserError(f"--cores {max(options.cores)}: this process may use {available}")
    combined = itertools.product(options.against, options.cores, options.resolution, options.scale)
    return [Case(peer=p, cores=c, resolution=r, min_scale=s) for p, c, r, s in combined]


def _cuda_present() -> bool:
    # torch takes seconds to import, and only a GPU run needs it in this process.
    import torch

    return torch.cuda.is_available()


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as all commands of the project do."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; `{self.prog} --help` tells the options")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = _Parser(prog="python -m benchmarks loader", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    names = ", ".join(sorted(PEERS))
    add(
        "--against", type=_list_of(str), action="extend", help=f"peers, of: {names} (default: both ffcv ones)"
    )
    add("--data", type=Path, help="folder or tar of images (default: made-up photos)")
    add("--json", type=Path, metavar="FILE", help="write the records there, and a table beside it as .md")
    add("--resolution", type=_list_of(_whole(8, 4096)), default=[128, 224], help="pixels (default: 128,224)")
    add("--scale", type=_list_of(_share), default=[0.08, 0.35], help="least crop areas (default: 0.08,0.35)")
    add("--cores", type=_list_of(_whole(1, 1024)), default=None, help="cores for each side (default: all)")
    add("--device", choices=sorted(_FORM), default="cpu", help="where batches end (default: cpu)")
    add("--batch", type=_whole(1, 65536), default=128, help="images in a batch (default: 128)")
    add("--rounds", type=_whole(LEAST_ROUNDS, 1000), default=LEAST_ROUNDS, help="of each side (default: 5)")
    add("--seconds", type=float, default=3.0, help="length of a round, about (default: 3)")
    add("--images", type=_whole(1, 10**7), default=512, help="how many images at most (default: 512)")
    options = parser.parse_args(argv)
    options.against = options.against or ["ffcv-jpeg", "ffcv-raw"]
    options.cores = options.cores or [machine()["cores"]]
    if not 0 < options.seconds <= 3600:
        raise UserError(f"--seconds {options.seconds}: give a number above 0, at most 3600")
    if options.data and not options.data.exists():
        raise UserError(f"--data {options.data} does not exist: give a folder or a tar of images")
    if options.json:
        _check_output(options.json)
    return options


def _check_output(path: Path) -> None:
    """Refuse before the measurement what could not be written after it."""
    if path.suffix == ".md":
        raise UserError(f"--json {path}: the table gets that name; give one that ends in .json")
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"--json {path} can't be written: give a file in a folder that exists and is yours")


def _list_of(item: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Parses values with commas between them."""

    def parse(text: str) -> list[Any]:
        return [item(part) for part in text.split(",")]

    # argparse names the type by this in its message.
    parse.__name__ = getattr(item, "__name__", "value")
    return parse


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError
        return value

    parse.__name__ = f"whole number from {low} to {high}"
    return parse


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError
    return value


_share.__name__ = "share above 0, at most 1"
