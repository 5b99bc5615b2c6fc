"""One data set in each form that people have it in, written as its usual tool writes it."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.config.write import SourceConfig
from engine.data.sources import Source, Split, open_split
from engine.errors import UserError


def open_source(path: Path | str, split: Split = "train", **options: Any) -> Source:
    """One split of the data set at `path`, with options of SourceConfig."""
    return open_split(SourceConfig(path=str(path), **options), split)


def contents(source: Source) -> Counter[tuple[str, Any]]:
    """How often each (class name, image) is in a source; read twice, and not in the source's order the second time."""
    found = [(source.classes[int(label)], source.read(i)) for i, label in enumerate(source.labels)]
    for index in reversed(range(len(source))):
        again = source.read(index)
        assert isinstance(again, bytes) and again == found[index][1]
    return Counter(found)


def folder_contents(folder: Path) -> Counter[tuple[str, bytes]]:
    """The same of class folders, looked at without the code under test."""
    return Counter((path.parent.name, path.read_bytes()) for path in folder.glob("*/*"))


def same_as_folder(source: Source, folder: Source) -> None:
    """Assert that two sources agree in all but where their images lie."""
    assert source.classes == folder.classes
    assert list(source.ids) == list(folder.ids)
    assert np.asarray(source.labels).tolist() == np.asarray(folder.labels).tolist()
    assert contents(source) == contents(folder)


def refused(path: Path | str, split: Split = "train", **options: Any) -> str:
    """The one line with which a data set is refused."""
    with pytest.raises(UserError) as caught:
        open_source(path, split, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def write_tar(path: Path, files: Iterable[tuple[str, bytes]], format: int = tarfile.GNU_FORMAT) -> Path:
    """A tar with these names and contents, in this order."""
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def packed(files: Iterable[tuple[str, bytes]]) -> bytes:
    """The bytes of a tar."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def write_train_tar(path: Path, train: Path) -> Path:
    """ILSVRC2012_img_train.tar of class folders; classes and images lie in it in another order than by name."""
    classes = sorted(folder for folder in train.iterdir())
    return write_tar(
        path,
        [
            (
                f"{folder.name}.tar",
                packed((file.name, file.read_bytes()) for file in sorted(folder.iterdir())[::-1]),
            )
            for folder in classes[1:] + classes[:1]
        ],
    )


def flatten_val(val: Path) -> list[tuple[str, bytes, str]]:
    """(official name, content, class) of the images in class folders, mixed by a seed; line i is image i + 1."""
    files = sorted(val.glob("*/*"))
    order = np.random.default_rng(0).permutation(len(files))
    return [
        (f"ILSVRC2012_val_{number:08d}.JPEG", files[index].read_bytes(), files[index].parent.name)
        for number, index in enumerate(order.tolist(), 1)
    ]


def write_devkit(folder: Path, classes: Sequence[str], truth: Sequence[str], first: int = 1) -> Path:
    """ILSVRC2012_devkit_t12 for these classes, whose ids are not in the names' order, and the images' classes."""
    scipy_io = pytest.importorskip("scipy.io")
    # As in the real one, ids have another order than names, and nodes that are no leaves come after the leaves.
    order = [*reversed(classes), "entity"]
    synsets = np.zeros(
        len(order), [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    )
    for index, name in enumerate(order):
        synsets[index] = (index + first, name, f"a {name}", 0)
    (folder / "data").mkdir(parents=True)
    scipy_io.savemat(folder / "data/meta.mat", {"synsets": synsets})
    numbers = [order.index(name) + first for name in truth]
    lines = "".join(f"{number}\n" for number in numbers)
    (folder / "data/ILSVRC2012_validation_ground_truth.txt").write_text(lines, encoding="utf-8")
    return folder


def solution(flat: Sequence[tuple[str, bytes, str]]) -> str:
    """Kaggle's LOC_val_solution.csv."""
    lines = [f"{name[:-5]},{kind} 1 2 30 40 {kind} 5 6 70 80 " for name, _, kind in flat]
    return "\n".join(["ImageId,PredictionString", *reversed(lines)]) + "\n"


def write_shards(folder: Path, split: str, images: Path, per_shard: int = 7, label: str = "cls") -> None:
    """WebDataset shards of class folders, the classes mixed."""
    classes = sorted(one.name for one in images.iterdir())
    files = sorted(images.glob("*/*"), key=lambda path: path.name)
    for start in range(0, len(files), per_shard):
        members: list[tuple[str, bytes]] = []
        for number, path in enumerate(files[start : start + per_shard], start):
            value = classes.index(path.parent.name)
            text = str(value) if label == "cls" else json.dumps({"label": value, "name": path.name})
            members += [(f"{number:05d}.jpg", path.read_bytes()), (f"{number:05d}.{label}", text.encode())]
        write_tar(folder / f"{split}-{start // per_shard:03d}.tar", members)
