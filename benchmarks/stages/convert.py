"""`python -m benchmarks convert`: image files to a .beton, ours against ffcv's own DatasetWriter.

Both sides read the same photos from the page cache, repeated for some seconds of work, write to the same disk and sync
their files. In turns, each time in a new process; the faster side gets more images rather than less time.
"""

import argparse
import hashlib
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import arguments as opt
from benchmarks.harness.images.prepared import PHOTOS, in_users_words, link_tree, unpack
from benchmarks.harness.method import failed, paired
from benchmarks.harness.processes import conversions
from benchmarks.harness.processes.conversions import Conversion, Took
from benchmarks.harness.processes.usage import MachineLoad
from benchmarks.harness.run_records import RunRecords
from benchmarks.records.layouts import Record
from benchmarks.sides import PEERS, Side, check_name, our_side, peer_side
from engine.errors import UserError, describe_os_error
from engine.progress import human_bytes
from engine.runs.machine import machine

_LONGEST = 200_000


@dataclass(frozen=True, kw_only=True)
class Case:
    """How the images are stored, as options of both sides."""

    storage: str
    """Name of ours in the record."""
    peer: str
    resolution: int
    ours: dict[str, Any]
    theirs: dict[str, Any]


_JPEG = {"write_mode": "jpg", "jpeg_quality": 90}
CASES = {
    "all encoded anew": Case(
        storage="jpeg",
        peer="ffcv-jpeg",
        resolution=500,
        ours={"format": "jpeg", "max_resolution": 500, "jpeg_quality": 90, "jpeg_unchanged": False},
        theirs=_JPEG | {"max_resolution": 500},
    ),
    "kept where they fit": Case(
        storage="jpeg",
        peer="ffcv-jpeg",
        resolution=500,
        ours={"format": "jpeg", "max_resolution": 500, "jpeg_quality": 90},
        theirs=_JPEG | {"max_resolution": 500},
    ),
    "all kept": Case(
        storage="jpeg",
        peer="ffcv-jpeg",
        resolution=0,
        ours={"format": "jpeg", "max_resolution": 0, "jpeg_quality": 90},
        theirs=_JPEG,
    ),
    "all kept, unchecked": Case(
        storage="jpeg",
        peer="ffcv-jpeg",
        resolution=0,
        ours={"format": "jpeg", "max_resolution": 0, "jpeg_quality": 90, "jpeg_check": False},
        theirs=_JPEG,
    ),
    "raw": Case(
        storage="raw",
        peer="ffcv-raw",
        resolution=500,
        ours={"format": "raw", "max_resolution": 500},
        theirs={"write_mode": "raw", "max_resolution": 500},
    ),
    "yuv420": Case(
        storage="yuv420",
        peer="ffcv-raw",
        resolution=500,
        ours={"format": "yuv420", "short_side": 0, "max_resolution": 500},
        theirs={"write_mode": "raw", "max_resolution": 500},
    ),
}


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    records = RunRecords(options.json)
    try:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            photos = unpack(options.data, options.images or PHOTOS, Path(folder))
            data = _identity(options.data, photos)
            print(f"data: {data}", flush=True)
            for name in options.case or CASES:
                case = CASES[name]
                print(
                    f"{case.storage} against {case.peer}, {name}, {options.workers} workers:",
                    end="",
                    flush=True,
                )
                with MachineLoad(options.workers) as load:
                    measured = _measure(case, photos, Path(folder), options)
                facts = _facts(name, case, options.workers)
                records.add(facts, measured, {"data": data}, load.facts)
    except OSError as error:
        raise describe_os_error(error, options.folder or tempfile.gettempdir(), "write into") from None
    return records.end()


class _Converter:
    """A side, with as many images as a round needs."""

    def __init__(self, side: Side, case: Case, photos: list[Path], folder: Path, workers: int) -> None:
        self._side, self._case, self._photos, self._workers = side, case, photos, workers
        self._folder = folder
        self._trees: dict[int, Path] = {}
        self.rounds: list[Took] = []

    def warm_up(self, seconds: float) -> None:
        """Find how many images take about `seconds`."""
        count = len(self._photos)
        for _ in range(2):
            took = self._once(count)
            if took.seconds >= seconds:
                break
            count = min(_LONGEST, max(count, round(took.images / took.seconds * seconds)))
        self._count = count

    def round(self) -> float:
        """Images per second of another round."""
        self.rounds.append(self._once(self._count))
        return self.rates[-1]

    @property
    def rates(self) -> list[float]:
        """Images per second of each round."""
        return [took.images / took.seconds for took in self.rounds]

    def facts(self, name: str) -> Record:
        """The part of a record about this side."""
        middle = statistics.median
        return {
            f"{name}_bytes_per_second": round(middle(took.bytes / took.seconds for took in self.rounds)),
            f"{name}_bytes_per_image": round(middle(took.bytes / took.images for took in self.rounds)),
            f"{name}_cpu_ms_per_image": round(
                1000 * middle(t.cpu_seconds / t.images for t in self.rounds), 4
            ),
            f"{name}_images": self.rounds[0].images,
        }

    def _once(self, count: int) -> Took:
        source = self._trees.get(count)
        if source is None:
            source = self._trees[count] = Path(tempfile.mkdtemp(dir=self._folder))
            link_tree(self._photos, count, source)
        with tempfile.TemporaryDirectory(dir=self._folder) as output:
            return conversions.run(
                self._side,
                Conversion(
                    source=source,
                    output=Path(output),
                    workers=self._workers,
                    ours=self._case.ours,
                    peer=self._case.theirs,
                ),
            )


def _measure(case: Case, photos: list[Path], folder: Path, options: argparse.Namespace) -> Record:
    """A record's measured part."""
    ours, peer = (
        _Converter(side, case, photos, folder, options.workers)
        for side in (our_side("convert", "ours"), peer_side("convert", options.against))
    )
    try:
        for side in (ours, peer):
            side.warm_up(options.seconds)
        for _ in range(options.rounds):
            print(f" {ours.round() / peer.round():.2f}", end="", flush=True)
    except UserError as error:
        # One of the images is bad: that fails every case.
        print(flush=True)
        count = options.images or PHOTOS
        raise in_users_words(error, folder, photos, options.data, count) from None
    # Whatever ffcv's writer raises, the other cases are measured.
    except Exception as error:  # noqa: BLE001
        print(f" failed: {error}", flush=True)
        return failed(" ".join(f"{type(error).__name__}: {error}".split()))
    print(flush=True)
    return {**paired(ours.rates, peer.rates), **ours.facts("ours"), **peer.facts("peer")}


def _facts(name: str, case: Case, workers: int) -> Record:
    return {
        "stage": "convert",
        "ours": case.storage,
        "peer": case.peer,
        "case": name,
        "resolution": case.resolution,
        "scale": [1.0, 1.0],
        "cores": workers,
        "cache": "warm",
        "metric": "images_per_second",
        "device": "cpu",
        "ours_settings": f"engine.data.convert.conversion.convert, {workers} workers",
        "peer_settings": f"ffcv.writer.DatasetWriter, {workers} workers, torchvision's ImageFolder, chunks of 100",
    }


def _identity(data: Path | None, photos: list[Path]) -> str:
    state, total = hashlib.sha256(), 0
    for photo in photos:
        content = photo.read_bytes()
        total += len(content)
        state.update(content)
    origin = data.name if data else "synthetic photo-like images, no real ones"
    return f"{origin}: {len(photos)} images repeated, {human_bytes(total)}, sha256 {state.hexdigest()[:16]}"


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("convert", __doc__)
    add = parser.add_argument
    peers = list(PEERS["convert"])
    add("--against", default="ffcv", help=f"choices: {', '.join(peers)} (default: ffcv)")
    add(
        "--case",
        action="append",
        help=f"choices: {', '.join(CASES)} (default: all); may be given more than once",
    )
    parser.add_data()
    add("--images", type=opt.whole(1, 10**6), help=f"different images at most (default: {PHOTOS})")
    add("--folder", type=Path, help="where to write (default: the system's temporary folder)")
    add("--workers", type=opt.whole(1, 1024), default=2, help="encoding processes of each side (default: 2)")
    parser.add_seconds(8.0)
    parser.add_rounds()
    parser.add_json()
    options = parser.parse_args(argv)
    check_name("peer", options.against, peers)
    for name in options.case or ():
        check_name("case", name, CASES)
    if options.workers > machine()["cores"]:
        raise UserError(f"--workers {options.workers}: this process may use {machine()['cores']} cores")
    opt.check_files(options.data, options.json)
    if options.folder and not options.folder.is_dir():
        raise UserError(f"--folder {options.folder} is not a folder: make it or give another")
    return options
