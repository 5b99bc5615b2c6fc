"""`python -m benchmarks decode`: images per second from records in memory to pixels, without a loader.

Each storage of ours against other libraries' decoders on the images' own JPEG data, by resolution, smallest crop area
(1: the centred square of the whole short side) and cores; in turns, each side in its own process. Exit code 1: a
comparison failed, labels differed, images were left out, or `--against self` found a difference.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence

from benchmarks.harness import arguments as opt
from benchmarks.harness.case import Case
from benchmarks.harness.comparing import Comparer, passed
from benchmarks.harness.images.sizing import gather
from benchmarks.harness.pairing import pairs, peer_names
from benchmarks.harness.processes.usage import MachineLoad
from benchmarks.harness.run_records import RunRecords
from benchmarks.sides import OURS, SELF, opponent, our_side
from benchmarks.sides.decoders.decoder_side import WHOLE
from engine.runs.machine import machine

_USUAL_PEER = "opencv"
_PIXELS = "uint8 RGB in host memory, a batch begun when it is asked for"
_PACKED = "the bytes of the crops as stored, packed, which are NOT yet pixels"


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    cases = _cases(options)
    records = RunRecords(options.json)
    images = gather({storage for case in cases for storage in case.storages}, options.data, options.images)
    with Comparer(images, options.data, options.images) as comparer:
        for number, case in enumerate(cases, 1):
            print(f"[{number}/{len(cases)}] {case}:", end="", flush=True)
            with MachineLoad(case.cores) as load:
                measured = comparer.measure(
                    case, rounds=options.rounds, seconds=options.seconds, longest=sys.maxsize
                )
            facts = case.record("decode", "images_per_second", images, measured)
            records.add(facts, load.facts, {"crop": _crop(case.min_scale)})
    return records.end(passed)


def _crop(least: float) -> str:
    return "centred square" if least == WHOLE else f"random, {least:g}-1"


def _cases(options: argparse.Namespace) -> list[Case]:
    """Every combination that was asked for."""
    combined = itertools.product(options.cores, options.resolution, options.scale, options.pairs)
    return [
        decoder_case(ours, peer, cores=cores, resolution=resolution, scale=scale, batch=options.batch)
        for cores, resolution, scale, (ours, peer) in combined
    ]


def decoder_case(ours: str, peer: str, *, cores: int, resolution: int, scale: float, batch: int) -> Case:
    """The comparison of one of our decoders with a peer, by name; `scale`: the least area of a crop."""
    return Case(
        ours=ours,
        peer=peer,
        cores=cores,
        resolution=resolution,
        min_scale=scale,
        cache="warm",
        batch=batch,
        form="host",
        form_in_words=_form(ours, peer),
        sides=(our_side("decode", ours), opponent("decode", ours, peer)),
    )


def _form(ours: str, peer: str) -> str:
    if not ours.endswith("-packed"):
        return _PIXELS
    return _PACKED if peer == SELF else f"ours: {_PACKED}; the peer's: {_PIXELS}"


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("decode", __doc__)
    parser.add_images(opt.NOT_IN_CACHE)
    add = parser.add_argument
    names = ", ".join(peer_names("decode"))
    add("--against", type=opt.list_of(str), action="extend", help=f"choices: {names} (default: opencv)")
    ours = ["jpeg", "jpeg-kept", "yuv420", "raw"]
    add(
        "--ours",
        type=opt.list_of(str),
        default=ours,
        help=f"choices: {', '.join(OURS['decode'])} (default: {','.join(ours)})",
    )
    parser.add_data()
    parser.add_json()
    parser.add_batch(128)
    parser.add_rounds()
    parser.add_seconds(1.0)
    parser.add_resolutions([128, 224])
    add(
        "--scale",
        type=opt.list_of(opt.share),
        default=[0.08, 0.35, 1.0],
        help="smallest crop areas, as a fraction of the image (default: 0.08,0.35,1)",
    )
    every = list(range(1, machine()["cores"] + 1))
    add(
        "--cores",
        type=opt.list_of(opt.whole(1, 1024)),
        default=every,
        help="cores for each side (default: 1 to all)",
    )
    options = parser.parse_args(argv)
    options.pairs = pairs("decode", options.against or [_USUAL_PEER], options.ours)
    opt.check_files(options.data, options.json)
    opt.check_cores(options.cores)
    return options
