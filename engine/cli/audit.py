"""`python -m engine audit --train A.beton --val B.beton [--checkpoint RUN]`: can the labels of the two be believed?

Compares class lists and class balance and looks for images that occur twice. With a trained network it also looks
for labels that were mixed up among each other, classes on which val is far worse than train, and wrong labels in val.
"""

import argparse
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

from engine.audit.classes import check_balance, check_lists
from engine.audit.collection import Collection
from engine.audit.copies.image_copies import Pair, by_importance, check_duplicates, differs, find_pairs
from engine.audit.finding import FINE, FOUND, Finding, in_order, report, shorten
from engine.audit.pictures import Pictures, Tile, write_sheet
from engine.data.beton.reader import open_beton
from engine.errors import UserError
from engine.files import atomic_write
from engine.train.ranks.process import limit_spinning


def main(argv: Sequence[str]) -> int:
    """Audit and print; 0 where nothing was found, 1 where something was. Raises UserError for bad input."""
    arguments = _parse(argv)
    collection = Collection.of(open_beton(arguments.train), open_beton(arguments.val))
    findings = [check_lists(collection.train, collection.val), check_balance(collection.labels)]
    damaged: list[str] = []
    with Pictures(collection.betons, len(os.sched_getaffinity(0))) as pictures:
        pairs, beyond = find_pairs(collection, pictures, near=not arguments.skip_near)
        findings += check_duplicates(collection, pairs, beyond, near=not arguments.skip_near)
        contrary = [pair for pair in by_importance(collection, pairs) if differs(collection, pair)]
        tiles = [tile for pair in contrary for tile in _tiles(collection, pair)]
        if arguments.checkpoint:
            # It is the import of torch that this acts on.
            limit_spinning()
            from engine.audit.labels.verdicts import check_labels
            from engine.audit.network import ask, recipe_of

            config = recipe_of(arguments.checkpoint, arguments.option, arguments.train, arguments.val)
            opinions = ask(config, *collection.betons, collection.labels)
            found, suspects = check_labels(collection, *opinions)
            findings += found
            damaged += [line for opinion in opinions for line in opinion.left_out]
            tiles = [*suspects, *tiles]
        findings.append(_damaged([*pictures.damaged.values(), *damaged]))
        if arguments.sheet and tiles:
            write_sheet(arguments.sheet, pictures, tiles)
    print(report(findings))
    if arguments.sheet:
        said = "the images in question" if tiles else "not written, since no image is in question"
        print(f"\n{arguments.sheet}: {said}")
    if arguments.json:
        _write_json(arguments.json, collection, findings)
    return int(any(finding.level == FOUND for finding in findings))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m engine audit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--train", type=Path, required=True, help=".beton file that is trained on")
    parser.add_argument("--val", type=Path, required=True, help=".beton file that is validated on")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="a run's folder, or a file of weights trained on the training file's classes",
    )
    parser.add_argument(
        "--skip-near", action="store_true", help="look for equal bytes only, not for near copies"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write everything found, with all figures, here"
    )
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help="write a PNG of the images in question here"
    )
    parser.add_argument(
        "option",
        nargs="*",
        help="after a --: train_imagenet.py's options for weights that have no config.yaml beside them, such as "
        "--model.arch=resnet18 or -C RECIPE",
    )
    arguments = parser.parse_args(argv)
    if arguments.option and not arguments.checkpoint:
        raise UserError(f"{arguments.option[0]} is for a network: give one with --checkpoint, or drop it")
    for path in (arguments.json, arguments.sheet):
        # Hours later would be late.
        if path is not None and not path.parent.is_dir():
            raise UserError(f"{path} can't be written: {path.parent} is no folder; make it, or name another")
        if path is not None and path.is_dir():
            raise UserError(f"{path} can't be written: it is a folder; name a file in it")
    return arguments


def _tiles(collection: Collection, pair: Pair) -> list[Tile]:
    return [
        Tile(image, (f"{split} {sample}", f"label: {collection.class_name(image)}", "the same image"))
        for image in (pair.one, pair.other)
        for split, sample in [collection.place(image)]
    ]


def _damaged(lines: Sequence[str]) -> Finding:
    """Images that could not be decoded, where any had to be."""
    distinct = list(dict.fromkeys(lines))
    return Finding(
        check="damaged images",
        level=FOUND if distinct else FINE,
        verdict=f"{len(distinct):,} can't be decoded and were left out" if distinct else "none was met",
        details=shorten(distinct),
        data={"images": distinct},
    )


def _write_json(path: Path, collection: Collection, findings: Sequence[Finding]) -> None:
    content = {
        "train": str(collection.train.path),
        "val": str(collection.val.path),
        "found": any(finding.level == FOUND for finding in findings),
        "findings": [dataclasses.asdict(finding) for finding in in_order(findings)],
    }
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1).encode("ascii") + b"\n")
