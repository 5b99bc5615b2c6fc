"""One data set in each form that people have it in, written as its usual tool writes it."""

import gzip
import io
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.config.write import SourceConfig
from engine.data.sources import Source, Split, open_split
from engine.errors import UserError


def open_source(path: Path | str, split: Split = "train", **options: Any) -> Source:
    """One split of the data set at `path`, with options of SourceConfig."""
    return open_split(SourceConfig(path=str(path), **options), split)


def encoded(source: Source, number: int) -> bytes:
    """The bytes of one image's file."""
    content = source.read(number)
    assert isinstance(content, bytes)
    return content


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


def write_idx(folder: Path, animals: Path) -> None:
    """Idx files of two splits, each image made of one of `animals` by `idx_pixels`."""
    for split, prefix in (("train", "train"), ("val", "t10k")):
        found = idx_pixels(animals / split)
        write_idx_split(
            folder, prefix, np.stack([image for _, image in found]), np.array([label for label, _ in found])
        )


def write_idx_split(
    folder: Path,
    prefix: str,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer[Any]],
    ending: str = ".gz",
) -> None:
    """The two idx files of a split: images (n, height, width) and labels (n,)."""
    for name, values in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
        data = idx_bytes(values)
        packed = gzip.compress(data) if ending else data
        (folder / f"{prefix}-{name}-ubyte{ending}").write_bytes(packed)


def idx_bytes(values: NDArray[np.uint8]) -> bytes:
    """An idx file of unsigned bytes."""
    return bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


def idx_pixels(folder: Path) -> list[tuple[int, NDArray[np.uint8]]]:
    """(label, 2 x 3 gray pixels made of the file's last bytes) for each image in class folders."""
    classes = sorted(one.name for one in folder.iterdir())
    files = sorted(folder.glob("*/*"))
    return [
        (classes.index(path.parent.name), np.frombuffer(path.read_bytes()[-6:], np.uint8).reshape(2, 3))
        for path in files
    ]


def write_parquet(folder: Path, split: str, images: Path) -> None:
    """A parquet file of class folders, as `datasets` writes it, without the classes' names."""
    parquet = pytest.importorskip("pyarrow.parquet")
    classes = sorted(one.name for one in images.iterdir())
    rows = [
        {"image": {"bytes": path.read_bytes(), "path": path.name}, "label": classes.index(path.parent.name)}
        for path in sorted(images.glob("*/*"))
    ]
    parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), folder / f"{split}-0.parquet")


_MODULE = """
from pathlib import Path

class Folder:
    def __init__(self, split):
        self.files = sorted(Path({root!r}, split).glob("*/*"))
        self.classes = sorted({{path.parent.name for path in self.files}})
    def __len__(self):
        return len(self.files)
    def __getitem__(self, index):
        path = self.files[index]
        return path.read_bytes(), self.classes.index(path.parent.name)
"""


def _folder(folder: Path, animals: Path) -> Path:
    return Path(shutil.copytree(animals, folder / "set"))


def _ilsvrc(folder: Path, animals: Path) -> Path:
    write_train_tar(folder / "ILSVRC2012_img_train.tar", animals / "train")
    flat = flatten_val(animals / "val")
    write_tar(folder / "ILSVRC2012_img_val.tar", [(name, content) for name, content, _ in flat])
    lines = "".join(f"{name} {kind}\n" for name, _, kind in flat)
    (folder / "val_labels.txt").write_text(lines, encoding="utf-8")
    return folder


def _kaggle(folder: Path, animals: Path) -> Path:
    images = folder / "ILSVRC/Data/CLS-LOC"
    shutil.copytree(animals / "train", images / "train")
    (images / "val").mkdir()
    flat = flatten_val(animals / "val")
    for name, content, _ in flat:
        (images / "val" / name).write_bytes(content)
    (folder / "LOC_val_solution.csv").write_text(solution(flat), encoding="utf-8")
    return folder


def _tar(folder: Path, animals: Path) -> Path:
    files = sorted(animals.glob("*/*/*"))
    return write_tar(
        folder / "set.tar", [(str(path.relative_to(animals)), path.read_bytes()) for path in files]
    )


def _webdataset(folder: Path, animals: Path) -> Path:
    for split in ("train", "val"):
        write_shards(folder, split, animals / split)
    return _with_class_names(folder, animals)


def _parquet(folder: Path, animals: Path) -> Path:
    for split in ("train", "val"):
        write_parquet(folder, split, animals / split)
    return _with_class_names(folder, animals)


def _with_class_names(folder: Path, animals: Path) -> Path:
    names = sorted(one.name for one in (animals / "train").iterdir())
    (folder / "classes.txt").write_text("\n".join(names), encoding="utf-8")
    return folder


def _idx(folder: Path, animals: Path) -> Path:
    write_idx(folder, animals)
    return folder


def _python(folder: Path, animals: Path) -> str:
    name = f"example_{folder.parent.name}_{folder.name}".replace("-", "_")
    (folder / f"{name}.py").write_text(_MODULE.format(root=str(animals)), encoding="utf-8")
    return f"python:{name}:Folder"


def _csv(folder: Path, animals: Path) -> Path:
    for split in ("train", "val"):
        files = sorted((animals / split).glob("*/*"), key=lambda path: path.name[::-1])
        lines = "".join(f"{path},{path.parent.name}\n" for path in files)
        (folder / f"{split}.csv").write_text(lines, encoding="utf-8")
    return folder


EXAMPLES: dict[str, Callable[[Path, Path], Path | str]] = {
    "csv": _csv,
    "folder": _folder,
    "idx": _idx,
    "ilsvrc": _ilsvrc,
    "kaggle": _kaggle,
    "parquet": _parquet,
    "python": _python,
    "tar": _tar,
    "webdataset": _webdataset,
}
"""Kind of source -> writes the image folder `animals` (its second argument) in that form into an empty folder, which
is also the current one; returns the `source.path`."""
