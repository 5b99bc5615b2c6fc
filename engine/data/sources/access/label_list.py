"""Which class each image of a flat folder or tar belongs to, by a list that lies beside the images.

Three kinds of lists: the ILSVRC2012 devkit (folder or .tar.gz), whose numbers 1 to 1000 become WordNet ids through its
meta.mat; Kaggle's LOC_val_solution.csv; a text file of lines `file-name class`, or with tabs and a box after the class,
as Tiny-ImageNet's. Labels are places in the class names of the training split, never the list's own numbers.
"""

import csv
import io
import os
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.config.write import SourceConfig
from engine.data.sources.access.image_names import EXTENSIONS, OTHER_EXTENSIONS
from engine.data.sources.access.location import Location, locate
from engine.data.sources.access.part_numbers import ADVICE
from engine.data.sources.base import printable
from engine.errors import UserError

DEVKIT, KAGGLE = "ILSVRC2012_devkit_t12", "LOC_val_solution.csv"
KNOWN_NAMES = (DEVKIT, f"{DEVKIT}.tar.gz", KAGGLE, "val_labels.txt", "val_annotations.txt")

# What comes before and after the space that follows a file name's extension, the last one in the line.
_ANY_IMAGE = EXTENSIONS + OTHER_EXTENSIONS
_AFTER_EXTENSION = re.compile(rf"(.*(?:{'|'.join(map(re.escape, _ANY_IMAGE))}))\s+(.*)", re.IGNORECASE)
# After name and class in Tiny-ImageNet's val_annotations.txt: the edges of a box.
_NUMBERS = re.compile(r"[\d.\s-]+")

_TRUTH, _META = "data/ILSVRC2012_validation_ground_truth.txt", "data/meta.mat"


@dataclass(frozen=True)
class LabelList:
    """Image -> class name, from one list."""

    classes: dict[str, str]
    """Image's file name without its extension -> class name."""
    where: str
    """The list's place, for messages."""

    def labels(self, names: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
        """The label of each image, by its file name: the place of its class in `classes`.

        Raises UserError when two images have one name, the list lacks an image or names a class not in `classes`.
        """
        stems = [_stem(name) for name in names]
        _refuse_repeated(
            stems,
            f"images have the same name but for folder or extension, so {self.where} can't tell them apart",
        )
        missing = [stem for stem in stems if stem not in self.classes]
        if missing:
            raise UserError(
                f"{self.where} names no class for {len(missing)} of {len(stems)} images, such as "
                f"{examples(missing)}: pass the list of these images as --source.val_labels"
            )
        label_of = {name: label for label, name in enumerate(classes)}
        unknown = [stem for stem in stems if self.classes[stem] not in label_of]
        if unknown:
            pairs = [f"{self.classes[stem]!r} for {printable(stem)}" for stem in unknown[:3]]
            raise UserError(
                f"{self.where} names classes that are not among the {len(classes)} of train, such as "
                f"{', '.join(pairs)} ({len(unknown)} images): pass a list of train's class names"
            )
        return np.array([label_of[self.classes[stem]] for stem in stems], np.int64)

    def notes(self, names: Sequence[str], *, check: bool) -> tuple[str, ...]:
        """Lines that say which list was used and how many images of it are not there.

        Raises UserError with `check` (source.check_counts) where some are not.
        """
        absent = sorted(self.classes.keys() - {_stem(name) for name in names})
        notes = [f"val: classes of the images from {self.where}"]
        if absent:
            more = f"{self.where} has {len(absent)} more images, such as {examples(absent)}"
            if check:
                raise UserError(f"{more}, which do not exist: get them, {ADVICE}")
            notes.append(f"val: {more}: they do not exist")
        return tuple(notes)


def find_label_list(config: SourceConfig, images: Location, beside: Sequence[Location]) -> LabelList:
    """The list `config.val_labels` of `images`, or else the first of a known name in the folders `beside`.

    Raises UserError when there is none, or when it can't be used as a list.
    """
    if config.val_labels:
        return _read_list(locate(config, config.val_labels))
    for folder in beside:
        for name in KNOWN_NAMES:
            if (folder / name).kind() != "missing":
                return _read_list(folder / name)
    raise UserError(
        f"{images} has no class folders, and no list of its images' classes ({', '.join(KNOWN_NAMES)}) lies in "
        f"{' or '.join(str(folder) for folder in beside)}: pass one as --source.val_labels"
    )


def _read_list(place: Location) -> LabelList:
    if place.name.endswith((".tar.gz", ".tgz", ".tar")):
        return _from_devkit(_packed_devkit(place), str(place))
    if place.kind() == "folder":
        return _from_devkit({name: (place / name).read() for name in (_TRUTH, _META)}, str(place))
    text = _decoded(place.read(), place)
    pairs = _kaggle_pairs(text, place) if place.name.endswith(".csv") else _plain_pairs(text, place)
    listed = list(pairs)
    _refuse_repeated([name for name, _ in listed], f"images are in {place} more than once")
    return LabelList(dict(listed), str(place))


def _decoded(data: bytes, place: Location) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{place} is not a text file: pass the list of the images' classes") from None


def _plain_pairs(text: str, place: Location) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        name, kind = _name_and_class(line.strip())
        if kind:
            yield _stem(name), kind
        elif name:
            raise UserError(f"line {number} of {place} is {line.strip()!r}: write it as `file-name class`")


def _name_and_class(line: str) -> tuple[str, str]:
    """A line's two parts, of which either may hold spaces; the second is empty where there is none."""
    if "\t" in line:
        name, kind, *box = line.split("\t")
        if box and not (kind and _NUMBERS.fullmatch("\t".join(box))):
            name, _, kind = line.rpartition("\t")
    elif found := _AFTER_EXTENSION.match(line):
        name, kind = found.groups()
    else:
        name, kind = (*line.split(maxsplit=1), "", "")[:2]
    return name.strip(), kind.strip()


def _kaggle_pairs(text: str, place: Location) -> Iterator[tuple[str, str]]:
    reader = csv.reader(io.StringIO(text))
    try:
        rows = [(reader.line_num, row) for row in reader]
    # Such as a field longer than any of Kaggle's.
    except csv.Error as error:
        raise UserError(
            f"line {reader.line_num} of {place} can't be read ({error}): get the file again"
        ) from None
    if not rows or rows[0][1] != ["ImageId", "PredictionString"]:
        raise UserError(f"{place} does not start with ImageId,PredictionString: pass Kaggle's {KAGGLE}")
    for number, row in rows[1:]:
        # A class and four edges for each object in the image.
        words = row[1].split() if len(row) == 2 else []
        if not words or len(words) % 5 or len(set(words[::5])) != 1:
            raise UserError(
                f"line {number} of {place} is not an image and the boxes of one class "
                f"(`class x y x y`): get the file again"
            )
        yield _stem(row[0]), words[0]


def _packed_devkit(place: Location) -> dict[str, bytes]:
    """The devkit's two files from its .tar.gz, which has 2.5 MB."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(place.read())) as tar:
            for member in tar:
                for name in (_TRUTH, _META):
                    if member.isfile() and f"/{member.name}".endswith(f"/{name}"):
                        content = tar.extractfile(member)
                        found[name] = content.read() if content else b""
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{place} is not a whole .tar.gz ({reason}): get it again") from None
    for name in (_TRUTH, _META):
        if name not in found:
            raise UserError(
                f"{place} holds no {name}: pass the devkit of ILSVRC2012's task 1 and 2, {DEVKIT}"
            )
    return found


def _from_devkit(files: dict[str, bytes], where: str) -> LabelList:
    """Line i of the ground truth is the ILSVRC2012_ID of image ILSVRC2012_val_<i, eight digits>."""
    wordnet = _wordnet_ids(files[_META], where)
    classes: dict[str, str] = {}
    for index, word in enumerate(files[_TRUTH].split(), 1):
        if not word.isdigit() or int(word) not in wordnet:
            shown = printable(word.decode("ascii", "replace"))
            raise UserError(
                f"line {index} of {_TRUTH} in {where} is {shown!r}, no class of its meta.mat: get it again"
            )
        classes[f"ILSVRC2012_val_{index:08d}"] = wordnet[int(word)]
    return LabelList(classes, where)


def _wordnet_ids(data: bytes, where: str) -> dict[int, str]:
    """ILSVRC2012_ID -> WNID, from the devkit's meta.mat."""
    # Only here: it takes a while to import.
    from scipy.io import loadmat

    try:
        synsets = loadmat(io.BytesIO(data), squeeze_me=True)["synsets"]
        pairs = [(int(one["ILSVRC2012_ID"]), str(one["WNID"])) for one in np.atleast_1d(synsets)]
    # loadmat raises whatever damaged bytes drive it into.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{_META} in {where} can't be read ({reason}): get the devkit again") from None
    _refuse_repeated(
        [str(number) for number, _ in pairs], f"classes are in {_META} of {where} more than once"
    )
    return dict(pairs)


def _stem(name: str) -> str:
    """A file's name without folders and without an image's extension."""
    base = os.path.basename(name)
    stem, extension = os.path.splitext(base)
    return stem if extension.lower() in _ANY_IMAGE else base


def _refuse_repeated(names: Sequence[str], what: str) -> None:
    if len(set(names)) < len(names):
        repeated = [name for name, count in Counter(names).items() if count > 1]
        raise UserError(f"{len(repeated)} {what}, such as {examples(repeated)}: keep one of each")


def examples(names: Sequence[str], count: int = 3) -> str:
    """The first few names, for a message."""
    return ", ".join(printable(name) for name in names[:count])
