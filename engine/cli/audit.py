"""`python -m engine audit --train A.beton --val B.beton [--checkpoint RUN]`: can the labels of the two be trusted?"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.audit.finding import FINE, FOUND, Finding, in_order, report, shorten
from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, EXIT_MISSED, UserError
from engine.files import atomic_write
from engine.limits import usable_cores
from engine.train.ranks.process import limit_spinning

if TYPE_CHECKING:
    from engine.audit.collection import Collection
    from engine.audit.copies.image_copies import Pair
    from engine.audit.pictures import Tile

_DESCRIPTION = """Check whether the labels of a training and a validation file can be trusted.

It compares class lists and class balance, and finds images that occur twice. With a trained network (--checkpoint) it \
also finds permuted labels, classes on which val is far worse than train, and images in val with a wrong label.

Exit code: 0 nothing found, 1 something found."""


def main(argv: Sequence[str]) -> int:
    """Audit and print; returns 0 if nothing was found, else 1. Raises UserError for bad input."""
    arguments = _parse(argv)
    with importing():
        from engine.audit.classes import check_balance, check_lists
        from engine.audit.collection import Collection
        from engine.audit.copies.image_copies import by_importance, check_duplicates, differs, find_pairs
        from engine.audit.pictures import Pictures, write_sheet
        from engine.data.beton.reader import open_beton

    collection = Collection.of(open_beton(arguments.train), open_beton(arguments.val))
    findings = [check_lists(collection.train, collection.val), check_balance(collection.labels)]
    damaged: list[str] = []
    with Pictures(collection.betons, usable_cores()) as pictures:
        pairs, beyond = find_pairs(collection, pictures, near=not arguments.skip_near)
        findings += check_duplicates(collection, pairs, beyond, near=not arguments.skip_near)
        contrary = [pair for pair in by_importance(collection, pairs) if differs(collection, pair)]
        tiles = [tile for pair in contrary for tile in _tiles(collection, pair)]
        if arguments.checkpoint:
            # It acts on the import of torch.
            limit_spinning()
            with importing():
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
    # Before the report: who reads only its first lines (| head) ends the command there.
    if arguments.json:
        _write_json(arguments.json, collection, findings)
    print(report(findings))
    if arguments.sheet:
        said = (
            "the images whose label is in doubt" if tiles else "not written, as no image's label is in doubt"
        )
        print(f"\n{arguments.sheet}: {said}")
    return EXIT_MISSED if any(finding.level == FOUND for finding in findings) else EXIT_DONE


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    usage = "--train FILE --val FILE [options] [-- OPTION...]"
    parser = CommandParser("python -m engine audit", _DESCRIPTION, usage)
    parser.add_argument("--train", type=Path, required=True, metavar="FILE", help=".beton file for training")
    parser.add_argument("--val", type=Path, required=True, metavar="FILE", help=".beton file for validation")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="RUN",
        help="folder of a run, or a weights file, trained on the classes of the training file",
    )
    parser.add_argument(
        "--skip-near", action="store_true", help="find only images with equal bytes, not near copies"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write all findings with their figures to FILE"
    )
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help="write a PNG of the suspicious images to FILE"
    )
    parser.add_argument(
        "option",
        nargs="*",
        metavar="OPTION",
        help="after a --: options of train_imagenet.py for weights without a config.yaml beside them, such as "
        "--model.arch=resnet18 or -C RECIPE",
    )
    arguments = parser.parse_args(argv)
    if arguments.option and not arguments.checkpoint:
        raise UserError(
            f"{arguments.option[0]} needs a network: give one with --checkpoint, or drop the option"
        )
    for path in (arguments.json, arguments.sheet):
        # Better now than after hours of work.
        if path is not None and not path.parent.is_dir():
            raise UserError(
                f"{path} can't be written: {path.parent} is not a folder; create it, or choose another"
            )
        if path is not None and path.is_dir():
            raise UserError(f"{path} can't be written: it is a folder; name a file in it")
    return arguments


def _tiles(collection: "Collection", pair: "Pair") -> "list[Tile]":
    from engine.audit.pictures import Tile

    return [
        Tile(image, (f"{split} {sample}", f"label: {collection.class_name(image)}", "the same image"))
        for image in (pair.one, pair.other)
        for split, sample in [collection.place(image)]
    ]


def _damaged(lines: Sequence[str]) -> Finding:
    """The finding about images that could not be decoded."""
    distinct = list(dict.fromkeys(lines))
    return Finding(
        check="damaged images",
        level=FOUND if distinct else FINE,
        verdict=f"{len(distinct):,} can't be decoded and were left out" if distinct else "none found",
        details=shorten(distinct),
        data={"images": distinct},
    )


def _write_json(path: Path, collection: "Collection", findings: Sequence[Finding]) -> None:
    content = {
        "train": str(collection.train.path),
        "val": str(collection.val.path),
        "found": any(finding.level == FOUND for finding in findings),
        "findings": [dataclasses.asdict(finding) for finding in in_order(findings)],
    }
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1).encode("ascii") + b"\n")
