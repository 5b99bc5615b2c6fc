"""Any map-style data set in Python: torchvision's own, and hand-made ones of each form and each mistake."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.sources.forms import contents, folder_contents, open_source, refused

# As a user writes it: real torchvision, images as the bytes of their files, and one in which they are decoded.
TORCHVISION = """
from pathlib import Path
from torchvision.datasets import ImageFolder

ROOT = Path({root!r})

def encoded(split):
    return ImageFolder(ROOT / split, loader=lambda path: Path(path).read_bytes())

def decoded(split):
    return ImageFolder(ROOT / split)

both = {{"train": encoded("train"), "validation": encoded("val")}}
"""

OWN = """
import numpy as np
from PIL import Image

class Names:
    names = ["cat", "dog"]

class Rows:
    def __init__(self, rows, **more):
        self.rows = rows
        self.__dict__.update(more)
    def __len__(self):
        return len(self.rows)
    def __getitem__(self, index):
        return self.rows[index]

PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
LABELS = [(PIXELS, 1), (PIXELS, 0), (PIXELS, 1)]

def arrays(split): return Rows(LABELS)
def pil(split): return Rows([(Image.fromarray(PIXELS), np.int64(0))])
def gray(split): return Rows([(PIXELS[:, :, 0], 0)])
def dicts(split): return Rows([{"image": PIXELS, "label": 1}], features={"label": Names})
def column(split):
    class Table(Rows):
        column_names = ["img", "label"]
        def __getitem__(self, index):
            return [0, 1] if index == "label" else {"img": {"bytes": b"x", "path": None}, "label": index}
    return Table([0, 1], features={"label": Names})
def many(split): return Rows([(PIXELS, 2)], classes=["a", "b"])
def seven(split): return Rows(LABELS, classes=7)
def letters(split): return Rows(LABELS, classes="ab")
def twice(split): return Rows(LABELS, classes=["a", "a"])
def lying(split): return Rows(LABELS, targets=[1, 0, 0])
def short(split): return Rows(LABELS, targets=[1, 0])
def words(split): return Rows([(PIXELS, "cat")])
def truth(split): return Rows([(PIXELS, True)])
def floats(split): return Rows([(PIXELS / 255.0, 0)])
def chw(split): return Rows([(PIXELS.transpose(2, 0, 1), 0)])
def triple(split): return Rows([(PIXELS, 0, 0)])
def broken(split): raise RuntimeError("no disk\\nhere")
class Failing(Rows):
    def __getitem__(self, index): raise KeyError(index)
def failing(split): return Failing([0])
def empty(split): return Rows([])
def generator(split): return iter([1])
number = 3
only_train = {"train": Rows(LABELS)}
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The hand-made data sets as a module of its own name in the current folder, python:MODULE."""
    name = f"own_sets_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return f"python:{name}"


def test_torchvision_image_folder_equals_ours(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torchvision_sets.py").write_text(TORCHVISION.format(root=str(animals)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = open_source(animals)
    for attribute in ("encoded", "both"):
        path = f"python:torchvision_sets:{attribute}"
        source = open_source(path)
        assert source.kind == "Python data set"
        assert source.classes == folder.classes
        assert np.asarray(source.labels).tolist() == folder.labels
        assert contents(source) == contents(folder)
        assert source.notes == ()
    val = open_source("python:torchvision_sets:both", "val", val_folder="validation")
    assert contents(val) == folder_contents(animals / "val")
    decoded = open_source("python:torchvision_sets:decoded")
    assert np.asarray(decoded.labels).tolist() == folder.labels
    assert np.asarray(decoded.read(0)).shape == (8, 9, 3)
    assert "gives decoded images, which are encoded again" in decoded.notes[0]


@pytest.mark.parametrize(
    ("attribute", "classes", "labels"),
    [
        ("arrays", ["0", "1"], [1, 0, 1]),
        ("pil", ["0"], [0]),
        ("dicts", ["cat", "dog"], [1]),
        ("twice", ["a (0)", "a (1)"], [1, 0, 1]),
    ],
)
def test_items_may_be_pairs_or_dicts_of_arrays_or_pil(
    module: str, attribute: str, classes: list[str], labels: list[int]
) -> None:
    source = open_source(f"{module}:{attribute}")
    assert source.classes == classes
    assert np.asarray(source.labels).tolist() == labels
    np.testing.assert_array_equal(np.asarray(source.read(0)), np.arange(24).reshape(2, 4, 3))
    assert source.where(0) == f"item 0 of {module}:{attribute} 'train'"


def test_gray_arrays_and_columns_of_bytes_are_read(module: str) -> None:
    assert np.asarray(open_source(f"{module}:gray").read(0)).shape == (2, 4)
    source = open_source(f"{module}:column")
    assert (source.classes, source.read(1)) == (["cat", "dog"], b"x")
    assert np.asarray(source.labels).tolist() == [0, 1]


def test_other_process_builds_the_data_set_itself(module: str, tmp_path: Path) -> None:
    source = open_source(f"{module}:arrays")
    packed = pickle.dumps(source.reader)
    assert len(packed) < 500
    code = f"import pickle; print(pickle.loads({packed!r}).read(1).sum())"
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert int(done.stdout) == sum(range(24))


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("many", "train/0000000 in {}:many has the label 2, but there are 2 class names"),
        ("seven", "{}:seven has 7 as its class names: give a list of them, or none"),
        ("letters", "{}:letters has 'ab' as its class names: give a list"),
        ("lying", "item 2 of {}:lying 'train' has the label 1, but its list of labels says 0: correct it"),
        ("short", "{}:short 'train' has 3 items and 2 labels"),
        ("words", "item 0 of {}:words 'train' has the label 'cat': labels must be integers"),
        ("truth", "item 0 of {}:truth 'train' has the label True: labels must be integers"),
        ("triple", "item 0 of {}:triple 'train' is a tuple: give (image, label)"),
        ("broken", "{}:broken gives no data set for 'train': RuntimeError: no disk here"),
        ("failing", "cannot read item 0 of {}:failing 'train': KeyError: 0"),
        ("empty", "{}:empty 'train' is empty"),
        ("generator", "without a length"),
        ("number", "{}:number gives no data set for 'train': TypeError"),
        ("nowhere", "{}:nowhere gives no data set for 'train': AttributeError"),
    ],
)
def test_bad_data_set_is_refused_in_one_line(module: str, attribute: str, expected: str) -> None:
    assert expected.format(module) in refused(f"{module}:{attribute}")


@pytest.mark.parametrize(
    ("attribute", "shape"), [("floats", "(2, 4, 3) and type float64"), ("chw", "(3, 2, 4) and type uint8")]
)
def test_images_in_unknown_form_are_refused(module: str, attribute: str, shape: str) -> None:
    message = refused(f"{module}:{attribute}")
    assert message.startswith(
        f"item 0 of {module}:{attribute} 'train' is a ndarray of shape {shape}: give a PIL image"
    )


@pytest.mark.parametrize("path", ["python:", "python:module", "python::x", "python:no_such_module:x"])
def test_name_of_no_object_is_refused(path: Any) -> None:
    assert "python:" in refused(path)


def test_mapping_without_the_split_is_refused(module: str) -> None:
    assert "gives no data set for 'val': KeyError: 'val'" in refused(f"{module}:only_train", "val")
