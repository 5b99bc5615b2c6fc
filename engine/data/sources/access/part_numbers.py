"""Numbers in the names of a data set's files, `-00001-of-00003` or 000, 001, ...: which of the files are missing."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from engine.data.sources.base import printable
from engine.errors import UserError

# Longer ones are dates or ids.
_OF = re.compile(r"(?<!\d)(\d{1,9})([-_]of[-_])(\d{1,9})(?!\d)", re.IGNORECASE | re.ASCII)
# Hugging Face's names had one behind the numbers, different for each file.
_HASH = re.compile(r"^[-_][0-9a-f]{6,}(?=\.)")
# The last number before the ending.
_PLAIN = re.compile(r"(?<!\d)\d{1,9}(?=\D*$)", re.ASCII)

ADVICE = "or pass --source.check_counts=false to convert what is there"


@dataclass
class _Series:
    """Files whose names differ only in a number."""

    before: str
    after: str
    paths: dict[int, str] = field(default_factory=dict)
    """Number -> the file's path."""
    widths: set[int] = field(default_factory=set)
    is_padded: bool = False

    def add(self, digits: str, path: str) -> str | None:
        """Takes in a file; returns the path of the one that had this number before, if any."""
        self.widths.add(len(digits))
        self.is_padded |= len(digits) > 1 and digits[0] == "0"
        known = self.paths.setdefault(int(digits), path)
        return None if known == path else known

    def missing(self, numbers: Sequence[int]) -> Iterator[str]:
        """The names of those that are not there; `numbers` may be a range too long to be made a set."""
        width = max(self.widths) if self.is_padded else 0
        return (
            f"{self.before}{str(number).zfill(width)}{self.after}"
            for number in numbers
            if number not in self.paths
        )


def refuse_missing_parts(paths: Sequence[str], elsewhere: Sequence[str] = ()) -> None:
    """Raises UserError naming the files that are missing by the numbers in the names of `paths`, one split's files.

    `X-of-N` states how many there are. Without it, names that are numbered from 0 or 1 have no gap but for the numbers
    of files that are `elsewhere`, such as in the other split. Raises too for files of two such sets in one folder.
    """
    counted: dict[tuple[str, str, str], dict[int, _Series]] = {}
    plain: dict[tuple[str, str, str], _Series] = {}
    for path in paths:
        folder, name = os.path.split(path)
        if of := _OF.search(name):
            before, after = name[: of.start()], _HASH.sub("", name[of.end() :])
            sets = counted.setdefault((folder, before, after), {})
            series = sets.setdefault(int(of[3]), _Series(before, f"{of[2]}{of[3]}{after}"))
            if twice := series.add(of[1], path):
                raise UserError(
                    f"{printable(twice)} and {printable(path)} are both part {of[1]} of {of[3]}: remove the one that "
                    f"is out of date"
                )
        elif number := _PLAIN.search(os.path.splitext(name)[0]):
            before, after = name[: number.start()], name[number.end() :]
            plain.setdefault((folder, before, after), _Series(before, after)).add(number[0], path)
    for sets in counted.values():
        _check_counted(sets)
    for series in plain.values():
        _check_plain(series, elsewhere)


def is_one_of_several(name: str) -> bool:
    """Whether a file's name says that there are others: X-of-N with N above 1."""
    of = _OF.search(name)
    return of is not None and int(of[3]) > 1


def _check_counted(sets: dict[int, _Series]) -> None:
    if len(sets) > 1:
        (one, some), (two, others) = list(sets.items())[:2]
        raise UserError(
            f"{printable(next(iter(some.paths.values())))} is of {one} parts and "
            f"{printable(next(iter(others.paths.values())))} of {two}: remove the files of one set"
        )
    total, series = next(iter(sets.items()))
    # Most count from 0; from 1 where there is one that is number N of N.
    first = 1 if 0 not in series.paths and total in series.paths else 0
    largest = max(series.paths)
    if largest >= first + total:
        raise UserError(
            f"{printable(series.paths[largest])} is beyond the {total} parts that its name states: rename or remove it"
        )
    _refuse(series, range(first, first + total))


def _check_plain(series: _Series, elsewhere: Sequence[str]) -> None:
    numbers = range(min(series.paths), max(series.paths) + 1)
    # Years and the like don't start at 0 or 1; a few numbers far apart are a series only if zeros make them as long.
    if numbers.start > 1 or (
        len(numbers) > 2 * len(series.paths) and not (series.is_padded and len(series.widths) == 1)
    ):
        return
    for path in elsewhere:
        name = os.path.basename(path)
        digits = name[len(series.before) : len(name) - len(series.after)]
        if name == f"{series.before}{digits}{series.after}" and digits.isdecimal() and int(digits) in numbers:
            series.paths.setdefault(int(digits), path)
    _refuse(series, numbers)


def _refuse(series: _Series, numbers: Sequence[int]) -> None:
    count = len(numbers) - len(series.paths)
    if not count:
        return
    first = ", ".join(printable(name) for name in islice(series.missing(numbers), 3))
    more = f" and {count - 3:,} more" if count > 3 else ""
    raise UserError(
        f"{count:,} of {len(numbers):,} files are missing ({first}{more}), by the name of "
        f"{printable(next(iter(series.paths.values())))}: get them, {ADVICE}"
    )
