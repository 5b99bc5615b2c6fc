"""Train and val agree on their classes in every form of a data set, or one set is divided into the two, by a rule."""

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from engine.data.sources import Source, Split, open_splits, originals
from engine.data.sources.access.both_splits import divided, with_same_classes
from engine.data.sources.access.location import LocalPath
from engine.data.sources.image_folder import FolderReader
from engine.data.sources.originals import match
from engine.errors import UserError
from tests.data.sources.conftest import CLASSES
from tests.data.sources.forms import EXAMPLES, contents, folder_contents, open_source, write_shards

KINDS = sorted(set(EXAMPLES) - {"idx"})
# Labels there are numbers, and without a list of names the last class is all that val can lack.
NUMBERED = ("webdataset", "parquet")


def both(path: object, **options: Any) -> dict[Split, Source]:
    return open_splits(SourceConfig(path=str(path), **options))


def refused_both(path: object, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        both(path, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.fixture
def copy(animals: Path, tmp_path: Path) -> Path:
    """`animals`, to be changed."""
    return Path(shutil.copytree(animals, tmp_path / "animals"))


def source(classes: list[str], labels: list[int]) -> Source:
    ids = [f"{label}/{number}" for number, label in enumerate(labels)]
    reader = FolderReader(LocalPath("/data"))
    return Source(kind="image folder", classes=classes, labels=labels, ids=ids, places=ids, reader=reader)


@pytest.mark.parametrize("kind", KINDS)
def test_val_without_a_class_takes_trains_labels_if_asked(
    kind: str, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(copy / "val" / CLASSES[-1 if kind in NUMBERED else 1])
    folder = tmp_path / "form"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    path = EXAMPLES[kind](folder, copy)
    (folder / "classes.txt").unlink(missing_ok=True)
    # Lists of a flat val's images name their classes, which are train's.
    if kind not in ("ilsvrc", "kaggle"):
        message = refused_both(path)
        assert "only in train: " in message
        advice = (
            "pass --source.val_classes=train, with which val takes train's label numbers and may lack classes"
        )
        assert message.endswith(advice)
    splits = both(path, val_classes="train")
    names = list(map(str, range(3))) if kind in NUMBERED else list(CLASSES)
    assert splits["train"].classes == splits["val"].classes == names
    for split, found in splits.items():
        labels = Counter((int(label), found.read(index)) for index, label in enumerate(found.labels))
        expected = folder_contents(copy / split)
        assert labels == Counter({(CLASSES.index(name), data): n for (name, data), n in expected.items()})


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_empty_class_folder_of_val_is_a_class_if_asked(kind: str, copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "val" / CLASSES[0])
    (copy / "val" / CLASSES[0]).mkdir()
    path = copy if kind == "folder" else Path(shutil.make_archive(str(tmp_path / "set"), "tar", copy))
    message = refused_both(path)
    assert message.startswith("no images in class folder ") and CLASSES[0] in message
    assert message.endswith("or pass --source.val_classes=train, with which val may lack classes of train")
    val = both(path, val_classes="train")["val"]
    assert val.classes == list(CLASSES) and set(val.labels) == {1, 2}
    # Train may not.
    (copy / "train" / "m").mkdir()
    assert "or remove it" in refused_both(copy, val_classes="train")


def test_labels_in_another_order_become_trains() -> None:
    train, val = source(["a", "b", "c"], [0, 1, 2]), source(["c", "a"], [1, 0, 0])
    found = with_same_classes(train, val, SourceConfig(path="/data", val_classes="train"))
    assert (found.classes, list(found.labels)) == (["a", "b", "c"], [0, 2, 2])


def test_class_of_val_alone_is_refused_with_and_without_the_option() -> None:
    train, val = source(["a"], [0]), source(["a", "b"], [0, 1, 1])
    with pytest.raises(UserError) as caught:
        with_same_classes(train, val, SourceConfig(path="/data", val_classes="train"))
    assert str(caught.value) == (
        "2 images of val in /data are of classes that train does not have, such as /data/1/1 of 'b': add images of "
        "them to train, or remove these"
    )
    with pytest.raises(
        UserError, match=r"only in val: 'b': give both the same classes; val may only lack some"
    ):
        with_same_classes(train, val, SourceConfig(path="/data"))
    # Without images it is no class that matters.
    none = source(["a", "b"], [0])
    found = with_same_classes(train, none, SourceConfig(path="/data", val_classes="train"))
    assert (found.classes, list(found.labels)) == (["a"], [0])


def _without_val(kind: str, folder: Path, animals: Path) -> Path | str:
    """A data set of this kind that has no validation split."""
    path = EXAMPLES[kind](folder, animals)
    for one in [*folder.iterdir(), *folder.glob("ILSVRC/Data/CLS-LOC/*"), *folder.glob("set/*")]:
        if re.search(r"img_val|LOC_val|^val|t10k", one.name):
            shutil.rmtree(one) if one.is_dir() else one.unlink()
    return folder / "train.csv" if kind == "csv" else path


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_every_kind_without_val_is_divided(
    kind: str, animals: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, folder = tmp_path / "own", tmp_path / "form"
    own.mkdir()
    folder.mkdir()
    complete = EXAMPLES[kind](own, animals)
    monkeypatch.syspath_prepend(own)
    message = refused_both(complete, split=0.3)
    assert "source.split takes images of train for validation, but " in message
    if kind in ("tar", "python"):
        shutil.rmtree(copy / "val")
    path = _without_val(kind, folder, copy if kind in ("tar", "python") else animals)
    monkeypatch.syspath_prepend(folder)
    whole, splits = open_source(path), both(path, split=0.3)
    train, val = splits["train"], splits["val"]
    assert train.classes == val.classes == whole.classes
    assert not set(train.ids) & set(val.ids)
    assert sorted((*train.ids, *val.ids)) == sorted(whole.ids)
    # Of 5, 6 and 7.
    assert np.bincount(val.labels)[:3].tolist() == [2, 2, 2]
    assert len(val) == 6
    label_of = dict(zip(whole.ids, np.asarray(whole.labels).tolist(), strict=True))
    for split in (train, val):
        assert [label_of[name] for name in split.ids] == np.asarray(split.labels).tolist()
    if kind != "idx":
        assert contents(train) + contents(val) == contents(whole)


def test_unsplit_folder_of_classes_is_divided(copy: Path) -> None:
    root = copy / "train"
    assert refused_both(root) == (
        f"no folder 'train' under {root}; found: {', '.join(CLASSES)}: pass --source.train_folder=NAME, or "
        "--source.split=0.1 if these are the classes"
    )
    splits = both(root, split=0.1)
    assert contents(splits["train"]) + contents(splits["val"]) == folder_contents(root)
    assert splits["val"].notes == (
        "val: 3 of 18 images, 0.1 of each class (split_seed=0); if some images are there twice, --rules.leak=skip "
        "keeps copies of val's out of train",
    )
    assert both(root, split=0.1, train_folder=".")["val"].ids == splits["val"].ids
    # As the folder above it without val.
    shutil.rmtree(copy / "val")
    assert refused_both(copy).endswith(
        "pass --source.val_folder=NAME, or --source.split=0.1 to take a tenth of train's images"
    )
    assert both(copy, split=0.1)["val"].ids == splits["val"].ids


@pytest.mark.parametrize("name", ["training", "test"])
def test_folder_of_a_splits_usual_name_is_not_taken_as_a_class(copy: Path, name: str) -> None:
    root = copy / "train"
    (root / CLASSES[0]).rename(root / name)
    message = refused_both(root, split=0.1)
    advised = "training" if name == "training" else "NAME"
    assert message.endswith(
        f"pass --source.train_folder={advised}, or --source.train_folder=. if these are the classes"
    )
    assert both(root, split=0.1, train_folder=".")["val"].classes == sorted({name, *CLASSES[1:]})


def test_misspelled_train_folder_is_not_divided(copy: Path) -> None:
    assert "no folder 'trian' under" in refused_both(copy / "train", split=0.1, train_folder="trian")


def test_val_that_can_not_be_used_is_not_replaced_by_a_part_of_train(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "val")
    (copy / "val").symlink_to("/mnt/not-mounted/val")
    assert "val is a link that leads nowhere" in refused_both(copy, split=0.1)
    # Of other kinds a note says why.
    write_shards(tmp_path, "train", copy / "train")
    val = both(tmp_path, split=0.1)["val"]
    assert val.notes[1].startswith(
        "val: taken from train, since no validation split was found: none of the 3 *.tar "
    )
    assert len(both(copy / "train", split=0.1)["val"].notes) == 1


def test_list_of_classes_with_split_is_refused(copy: Path) -> None:
    shutil.rmtree(copy / "val")
    message = refused_both(copy, split=0.1, val_labels="list.txt")
    assert message == "source.val_labels: with source.split, val is taken from train: drop one of the two"


def _divided(whole: Source, fraction: float = 0.1, seed: int = 0) -> dict[Split, Source]:
    return divided(whole, SourceConfig(path="/data", split=fraction, split_seed=seed))


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.9])
def test_each_class_gives_its_share_and_keeps_some(fraction: float) -> None:
    random = np.random.default_rng(7)
    counts = [2, 3, 0, 10, 35, 200]
    labels = random.permutation(np.repeat(np.arange(6), counts)).tolist()
    splits = _divided(source(list("abcdef"), labels), fraction)
    taken = np.bincount(splits["val"].labels, minlength=6)
    for count, found in zip(counts, taken.tolist(), strict=True):
        assert found == min(max(int(count * fraction + 0.5), 1), max(count - 1, 0))
    assert np.array_equal(taken + np.bincount(splits["train"].labels, minlength=6), counts)


def test_division_depends_on_seed_and_ids_alone() -> None:
    whole = source(["a", "b"], [0] * 50 + [1] * 30)
    chosen = set(_divided(whole)["val"].ids)
    mixed = whole.select(np.random.default_rng(0).permutation(80))
    assert set(_divided(mixed)["val"].ids) == chosen
    assert set(_divided(whole, seed=1)["val"].ids) != chosen
    # The rule itself, since files that were made by it lie about.
    assert sorted(chosen) == ["0/12", "0/17", "0/29", "0/30", "0/41", "1/62", "1/66", "1/74"]
    # Images added to one class change nothing in the other.
    more = source(["a", "b"], [0] * 50 + [1] * 30 + [0] * 20)
    assert {name for name in _divided(more)["val"].ids if name[0] == "1"} == {
        n for n in chosen if n[0] == "1"
    }


def test_class_of_one_image_can_not_be_divided() -> None:
    with pytest.raises(UserError) as caught:
        _divided(source(["a", "b"], [0, 0, 1]))
    assert str(caught.value) == (
        "class 'b' in /data has one image (1 such classes), and source.split needs two, one for train and one for val: "
        "add images, or remove the class"
    )


def test_files_of_a_divided_set_have_no_common_image(animals: Path, tmp_path: Path) -> None:
    root = animals / "train"
    options = SourceConfig(path=str(root), split=0.3)
    output = OutputConfig(folder=str(tmp_path), num_workers=1)
    paths = convert(WriteConfig(source=options, output=output))
    ids = {}
    for split, path in paths.items():
        beton = open_beton(path)
        assert beton.manifest is not None
        ids[split] = set(beton.manifest.ids)
        # Its source is found again, for a comparison with other programs' pixels.
        assert match(beton, originals.open_source(str(root), ".", "", beton), "it").others == 18 - len(
            ids[split]
        )
    assert not ids["train"] & ids["val"]
    assert ids["train"] | ids["val"] == {str(path.relative_to(root)) for path in root.glob("*/*")}
