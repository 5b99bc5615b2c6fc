"""Every registered kind of source is found by probing and by its name, and says what is wrong in one line."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from engine.config.load import load_write_config
from engine.config.write import SourceConfig
from engine.data.sources import KINDS, Source, Split, open_split
from tests.data.sources.conftest import CLASSES
from tests.data.sources.forms import EXAMPLES, contents, folder_contents, idx_pixels, open_source, refused

SPLITS: tuple[Split, ...] = ("train", "val")
DOCS = Path(__file__).parents[3] / "docs/reference/sources.md"


@pytest.fixture(params=KINDS.names())
def kind(request: pytest.FixtureRequest) -> str:
    """The name of each registered kind."""
    name: str = request.param
    assert name in EXAMPLES, f"source.kind {name} has no example in tests/data/sources/forms.py"
    return name


@pytest.fixture
def example(kind: str, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of `animals` in the form of that kind."""
    monkeypatch.chdir(tmp_path)
    return str(EXAMPLES[kind](tmp_path, animals))


def _check(source: Source, kind: str, images: Path) -> None:
    """Assert that a source has the classes and images of class folders."""
    if kind == "idx":
        assert source.classes == [str(digit) for digit in range(10)]
        expected = Counter((label, pixels.tobytes()) for label, pixels in idx_pixels(images))
        found = (np.asarray(source.read(index)) for index in range(len(source)))
        gray = [pixels.tobytes() for pixels in found]
        assert Counter(zip(source.labels, gray, strict=True)) == expected
        return
    assert source.classes == list(CLASSES)
    assert contents(source) == folder_contents(images)


@pytest.mark.parametrize("split", SPLITS)
def test_kind_is_found_by_probing_and_by_name(kind: str, example: str, split: Split, animals: Path) -> None:
    probed, named = (open_source(example, split, kind=name) for name in ("auto", kind))
    for source in (probed, named):
        _check(source, kind, animals / split)
    assert probed.kind == named.kind
    assert list(probed.ids) == list(named.ids)
    assert len(set(named.ids)) == len(named)
    assert all(named.where(index) for index in range(len(named)))


def test_missing_path_is_refused(kind: str, tmp_path: Path) -> None:
    if kind == "python":
        expected = "source.path python:nowhere is not python:MODULE:ATTRIBUTE"
        assert expected in refused("python:nowhere", kind=kind)
        return
    missing = tmp_path / "missing"
    assert f"source.path {missing} does not exist: pass" in refused(missing, kind=kind)


@pytest.mark.parametrize("split", SPLITS)
def test_path_of_no_such_data_set_is_refused(kind: str, split: Split, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    said = refused(tmp_path, split, kind=kind)
    assert str(tmp_path) in said
    assert f"source.kind={kind} needs: {KINDS[kind].help}; pass that" in said or "no folder" in said


def test_named_kind_is_taken_over_the_probed_one(animals: Path, tmp_path: Path) -> None:
    EXAMPLES["idx"](tmp_path, animals)
    for split in SPLITS:
        (tmp_path / split).symlink_to(animals / split)
    assert open_source(tmp_path).kind == "idx files"
    assert open_source(tmp_path, kind="folder").kind == "image folder"


@pytest.mark.parametrize("split", SPLITS)
def test_ilsvrc_by_name_takes_class_folders_of_either_split(animals: Path, split: Split) -> None:
    assert open_source(animals, split, kind="ilsvrc").ids == open_source(animals, split).ids


def test_unknown_kind_names_the_nearest_and_all_choices(animals: Path) -> None:
    said = refused(animals, kind="webdatset")
    choices = ", ".join(["auto", *KINDS.names()])
    assert said == f"unknown source.kind 'webdatset' (did you mean 'webdataset'?); choices: {choices}"


def test_kind_comes_from_yaml_and_command_line(animals: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "set.yaml"
    recipe.write_text(f"source:\n  path: {animals}\n  kind: idx\noutput:\n  folder: out\n", encoding="utf-8")
    from_file = load_write_config(["-C", str(recipe)]).source
    on_line = load_write_config(["-C", str(recipe), "--source.kind=folder"]).source
    assert (from_file.kind, on_line.kind, SourceConfig().kind) == ("idx", "folder", "auto")
    assert open_split(on_line, "train").kind == "image folder"


def test_kind_is_listed_in_the_docs(kind: str) -> None:
    assert f"| `{kind}` |" in DOCS.read_text(encoding="utf-8")
