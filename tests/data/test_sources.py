"""What a path holds becomes classes, labels, ids and pixels, or one line that says what is wrong with it."""

import gzip
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine.config.write_schema import SourceConfig
from engine.data.sources import Source, open_split
from engine.data.sources.idx import FASHION_MNIST
from engine.errors import UserError

FASHION = Path("/usr/share/datasets/fashion-mnist")


def _dot(color: int = 0) -> NDArray[np.uint8]:
    return np.full((4, 4, 3), color, np.uint8)


def _open(path: Path, split: Any = "train", **options: Any) -> Source:
    return open_split(SourceConfig(path=str(path), **options), split)


# --- image folders


def test_labels_are_places_in_the_sorted_class_names(make_tree: Callable[..., Path]) -> None:
    root = make_tree(
        {"train": {"b": {"2.jpg": _dot(), "10.jpg": _dot()}, "B": {"x.jpg": _dot()}, "a": {"y.jpg": _dot()}}}
    )
    source = _open(root)
    assert source.classes == ["B", "a", "b"]
    assert source.labels == [0, 1, 2, 2]
    assert source.ids == ["B/x.jpg", "a/y.jpg", "b/10.jpg", "b/2.jpg"]
    assert source.kind == "image folder"
    assert len(source) == 4
    assert source.where(1) == str(root / "train/a/y.jpg")


def test_extensions_in_any_case_folders_in_folders_and_nothing_hidden(make_tree: Callable[..., Path]) -> None:
    names = ["a.JPEG", "b.jpg", "c.Png", "d.bmp", "e.webp", "f.txt", "g.gif", ".h.jpg"]
    root = make_tree({"train": {"k": {name: _dot() for name in names}, ".git": {"x.jpg": _dot()}}})
    (root / "train/k/inner").mkdir()
    (root / "train/k/inner/i.jpg").write_bytes(b"")
    (root / "train/loose.jpg").write_bytes(b"")
    source = _open(root)
    assert source.classes == ["k"]
    assert source.ids == ["k/a.JPEG", "k/b.jpg", "k/c.Png", "k/d.bmp", "k/e.webp", "k/inner/i.jpg"]
    assert source.notes == (
        "train: passed over 1 images that lie beside the class folders, not in one",
        "train: passed over 2 files that are not images, such as k/f.txt",
    )


def test_the_split_folders_can_be_named(make_tree: Callable[..., Path]) -> None:
    root = make_tree({"training": {"a": {"1.jpg": _dot()}}, "test": {"b": {"1.jpg": _dot()}}})
    assert _open(root, train_folder="training").classes == ["a"]
    assert _open(root, "val", val_folder="test").classes == ["b"]


def test_select_keeps_classes_and_takes_samples_in_the_given_order(make_tree: Callable[..., Path]) -> None:
    source = _open(make_tree({"train": {"a": {"1.jpg": _dot(), "2.jpg": _dot()}, "b": {"3.jpg": _dot()}}}))
    part = source.select([2, 0])
    assert (part.ids, part.labels, part.classes) == (["b/3.jpg", "a/1.jpg"], [1, 0], ["a", "b"])
    assert part.where(0).endswith("b/3.jpg")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "1", "LA", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (13, 7)])
def test_odd_images_become_what_pillow_makes_of_them(
    mode: str, size: tuple[int, int], make_tree: Callable[..., Path]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 200)
    else:
        image = Image.fromarray(noise[..., :3]).convert(mode)
    file = io.BytesIO()
    image.save(file, {"CMYK": "JPEG"}.get(mode, "PNG"))
    source = _open(make_tree({"train": {"k": {"odd.JPEG": file.getvalue()}}}))
    pixels = source.read(0)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (size[1], size[0], 3)
    file.seek(0)
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(file).convert("RGB")))


def test_exif_rotation_is_not_applied(make_tree: Callable[..., Path]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (6, 4)).save(file, "JPEG", exif=exif)
    source = _open(make_tree({"train": {"k": {"turned.jpg": file.getvalue()}}}))
    assert source.read(0).shape == (4, 6, 3)


def test_a_file_name_that_is_no_text_can_be_read_and_named(make_tree: Callable[..., Path]) -> None:
    root = make_tree({"train": {"k": {"a\n\udcff.jpg": b"no image"}}})
    source = _open(root)
    assert "\n" not in source.where(0)
    with pytest.raises(UserError) as caught:
        source.read(0)
    assert "\n" not in str(caught.value)
    str(caught.value).encode("utf-8")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"hello, I am a text file\n" * 100, "not an image in a format known here"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "not an image in a format known here"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "repair or remove it"),
    ],
)
def test_what_is_not_an_image_is_named_with_the_reason(
    content: bytes, reason: str, make_tree: Callable[..., Path]
) -> None:
    root = make_tree({"train": {"k": {"x.JPEG": content}}})
    with pytest.raises(UserError) as caught:
        _open(root).read(0)
    assert str(caught.value).startswith(f"cannot read image {root}/train/k/x.JPEG: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_truncated_image_is_an_error(kind: str, share: float, make_tree: Callable[..., Path]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    data = file.getvalue()
    root = make_tree({"train": {"k": {"cut.jpg": data[: int(len(data) * share)]}}})
    with pytest.raises(UserError, match=r"cannot read image .*k/cut\.jpg: .+; repair or remove it"):
        _open(root).read(0)


def test_an_image_that_went_away_is_an_error(make_tree: Callable[..., Path]) -> None:
    source = _open(make_tree({"train": {"k": {"x.jpg": _dot()}}}))
    Path(source.where(0)).unlink()
    with pytest.raises(UserError, match=r"cannot read .*k/x\.jpg: it does not exist"):
        source.read(0)


def test_missing_folders_are_named_with_what_is_there(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source.path .*nowhere does not exist"):
        _open(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"source.path .*file is not a folder"):
        _open(tmp_path / "file")
    root = make_tree({"train": {"a": {}}, "test": {"a": {}}, "meta": {"a": {}}})
    with pytest.raises(UserError) as caught:
        _open(root, "val")
    assert str(caught.value) == (
        f"no folder 'val' under {root}; found: meta, test, train: pass --source.val_folder=test"
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no folder 'train' under .*; found: no folders"):
        _open(tmp_path / "empty")


def test_no_classes_and_classes_without_images_are_named(make_tree: Callable[..., Path]) -> None:
    root = make_tree(
        {"train": {"a": {"1.jpg": _dot()}, "b": {}, "c": {"x.txt": b"x"}}, "val": {}, "flat": {}}
    )
    with pytest.raises(UserError, match=r"no images in class folder .*train/b \(and 1 more class folders\)"):
        _open(root)
    (root / "val").mkdir()
    with pytest.raises(UserError, match=r"no class folders in .*val: it holds neither folders nor images"):
        _open(root, "val")
    (root / "val/1.jpg").touch()
    with pytest.raises(UserError, match=r"no class folders in .*val: 1 images lie directly in it"):
        _open(root, "val")


# --- idx files


def _idx(values: NDArray[np.uint8]) -> bytes:
    header = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
    return header + values.tobytes()


def _write_idx(folder: Path, count: int = 12, ending: str = ".gz", digits: int = 10) -> NDArray[np.uint8]:
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (count, 5, 7), dtype=np.uint8)
    labels = np.arange(count, dtype=np.uint8) % digits
    for prefix in ("train", "t10k"):
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            data = _idx(values)
            packed = gzip.compress(data) if ending else data
            (folder / f"{prefix}-{name}-ubyte{ending}").write_bytes(packed)
    return images


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("below", [".", "raw", "FashionMNIST/raw", "MNIST/raw"])
def test_idx_files_are_found_where_debian_and_torchvision_put_them(
    tmp_path: Path, ending: str, below: str
) -> None:
    images = _write_idx(tmp_path / "set" / below, ending=ending)
    source = _open(tmp_path / "set", "val")
    assert source.ids[:2] == ["val/00000", "val/00001"]
    assert source.classes == [str(digit) for digit in range(10)]
    assert source.labels == [*range(10), 0, 1]
    pixels = source.read(3)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.repeat(images[3][:, :, None], 3, axis=2))
    assert source.where(3).startswith("image 3 of ")


def test_an_idx_reader_travels_without_its_images(tmp_path: Path) -> None:
    _write_idx(tmp_path / "set", count=2000)
    source = _open(tmp_path / "set")
    packed = pickle.dumps(source.reader)
    assert len(packed) < 1000
    np.testing.assert_array_equal(pickle.loads(packed).read("train/00005"), source.read(5))


def test_a_set_with_more_labels_than_digits_keeps_them_all(tmp_path: Path) -> None:
    _write_idx(tmp_path / "set", count=26, digits=26)
    assert len(_open(tmp_path / "set").classes) == 26


@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_known_by_its_labels() -> None:
    train, val = _open(FASHION), _open(FASHION, "val")
    assert train.classes == val.classes == list(FASHION_MNIST)
    assert (len(train), len(val)) == (60000, 10000)
    assert train.classes[train.labels[0]] == "Ankle boot"
    assert val.read(0).shape == (28, 28, 3)


def _damage(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("train-images-idx3-ubyte", lambda data: data[:-1], "is damaged: .* bytes instead of"),
        ("train-images-idx3-ubyte", lambda data: b"hello" + data, "is not an idx file"),
        ("train-images-idx3-ubyte", lambda data: data[:9], "is not an idx file"),
        ("train-labels-idx1-ubyte", lambda data: _idx(np.zeros(3, np.uint8)), "12 images and .* 3 labels"),
    ],
)
def test_damaged_idx_files_are_named(
    tmp_path: Path, name: str, change: Callable[[bytes], bytes], expected: str
) -> None:
    _write_idx(tmp_path / "set", ending="")
    _damage(tmp_path / "set", name, change)
    with pytest.raises(UserError, match=expected):
        _open(tmp_path / "set")


@pytest.mark.parametrize(
    "change", [lambda data: data[:-9], lambda data: b"no gzip" + data, lambda data: data[:40] + data[45:]]
)
def test_damaged_gzip_files_are_named(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    _write_idx(tmp_path / "set")
    _damage(tmp_path / "set", "train-images-idx3-ubyte.gz", change)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        _open(tmp_path / "set")


def test_missing_idx_files_are_named(tmp_path: Path) -> None:
    _write_idx(tmp_path / "set")
    (tmp_path / "set/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match=r"no file t10k-labels-idx1-ubyte \(or \.gz\) in "):
        _open(tmp_path / "set", "val")
