"""`python -m engine subset`: the chosen images as they are, the choice repeatable and written down."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cli.subset import main
from engine.data.beton.reader import open_beton
from engine.data.edit.merge import merge
from engine.data.edit.subset import Choice, choose, subset
from engine.data.edit.verify import verify
from engine.errors import UserError
from tests.data.betons import overwrite
from tests.data.edit.test_merge import contents
from tests.data.made import make

LABELS = [0, 1, 2, 1, 1, 0, 1, 2, 1, 0, 1, 1]

_SAMPLES = st.lists(st.integers(0, 4), min_size=1, max_size=60)


@given(labels=_SAMPLES, seed=st.integers(0, 3), small=st.floats(0.01, 0.5), larger=st.floats(0, 0.5))
def test_fraction_is_per_class_and_nested_in_larger_fractions(
    labels: list[int], seed: int, small: float, larger: float
) -> None:
    of_samples, every = np.array(labels), np.arange(5)
    chosen = choose(of_samples, every, Choice(fraction=small, seed=seed))
    more = choose(of_samples, every, Choice(fraction=small + larger, seed=seed))
    assert set(chosen.tolist()) <= set(more.tolist())
    assert (np.diff(chosen) > 0).all()
    for label in set(labels):
        count = labels.count(label)
        assert (of_samples[chosen] == label).sum() == max(1, round(count * small))
        # The other classes make no difference.
        alone = choose(of_samples, np.array([label]), Choice(fraction=small, seed=seed))
        assert alone.tolist() == chosen[of_samples[chosen] == label].tolist()


@given(labels=_SAMPLES, seed=st.integers(0, 3), number=st.integers(1, 70))
def test_counts_are_exact_when_enough_images_exist(labels: list[int], seed: int, number: int) -> None:
    of_samples, every = np.array(labels), np.arange(5)
    in_all = choose(of_samples, every, Choice(count=number, seed=seed))
    assert len(set(in_all.tolist())) == len(in_all) == min(number, len(labels))
    of_each = choose(of_samples, every, Choice(per_class=number, seed=seed))
    found = np.bincount(of_samples[of_each], minlength=5)
    assert found.tolist() == [min(number, labels.count(label)) for label in range(5)]
    fewer = choose(of_samples, every, Choice(count=max(1, number // 2), seed=seed))
    assert set(fewer.tolist()) <= set(in_all.tolist())


def test_seed_changes_the_selection() -> None:
    labels = np.zeros(1000, np.int64)
    chosen = [set(choose(labels, np.array([0]), Choice(count=500, seed=seed)).tolist()) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1]
    assert 200 < len(chosen[0] & chosen[2]) < 300


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_single_class_subsets_merge_into_all_images(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    labels = data.draw(st.lists(st.integers(0, 2), min_size=2, max_size=12).filter(lambda x: len(set(x)) > 1))
    folder = tmp_path_factory.mktemp("subset")
    whole = make(folder / "whole.beton", labels)
    names = [("a", "b", "c")[label] for label in sorted(set(labels))]
    paths = [folder / f"{name}.beton" for name in names]
    for name, path in zip(names, paths, strict=True):
        subset(path, whole.path, Choice(classes=(name,), keep_labels=True))
    merge(folder / "merged.beton", paths)
    assert sorted(contents(open_beton(folder / "merged.beton"))) == sorted(contents(whole))


def test_selected_classes_are_renumbered_in_order(tmp_path: Path) -> None:
    whole = make(
        tmp_path / "whole.beton",
        LABELS,
        odd={"cmyk": 1},
        rejects=(("x", "empty", "it is empty"),),
        duplicates=(("0007", "0000"), ("0003", "0000")),
        license="none",
    )
    subset(tmp_path / "x.beton", whole.path, Choice(classes=("c", "a")))
    chosen = open_beton(tmp_path / "x.beton")
    said = chosen.manifest
    assert said is not None
    assert said.classes == ("a", "c")
    expected = [one for one in contents(whole) if one[1] in (0, 2)]
    assert contents(chosen) == [(name, {0: 0, 2: 1}[label], data) for name, label, data in expected]
    assert said.counts == {"samples": 5, "jpeg": 0, "raw": 5, "yuv420": 0}
    assert said.source_numbers == (0, 2, 5, 7, 9)
    assert said.settings == {
        "format": "raw",
        "seed": 0,
        "selections": [{"of": 12, "of_classes": 3, "classes": 2, "seed": 0, "labels": "renumbered"}],
    }
    assert (said.odd, said.rejects, said.duplicates) == ({}, (), (("0007", "0000"),))
    assert said.license == "none" and not verify(chosen).bad
    # A choice of a choice names both.
    subset(tmp_path / "y.beton", chosen.path, Choice(per_class=1, seed=3))
    again = open_beton(tmp_path / "y.beton").manifest
    assert again is not None and again.settings["selections"] == [
        *said.settings["selections"],
        {"of": 5, "of_classes": 2, "classes": 2, "seed": 3, "per_class": 1, "labels": "kept"},
    ]


def test_keep_labels_option_keeps_all_class_numbers(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.beton", LABELS)
    assert main([str(tmp_path / "x.beton"), str(whole.path), "--classes", "c", "--keep-labels"]) == 0
    chosen = open_beton(tmp_path / "x.beton")
    assert chosen.manifest is not None and chosen.manifest.classes == ("a", "b", "c")
    assert contents(chosen) == [one for one in contents(whole) if one[1] == 2]


def test_same_selection_gives_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = make(tmp_path / "whole.beton", LABELS)
    for name in ("x", "y"):
        command = [str(tmp_path / f"{name}.beton"), str(whole.path), "--fraction", "0.5", "--seed", "4"]
        assert main(command) == 0
    assert (tmp_path / "x.beton").read_bytes() == (tmp_path / "y.beton").read_bytes()
    assert ": 7 images, " in capsys.readouterr().out


def test_classes_are_read_from_a_file(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.beton", LABELS)
    listed = tmp_path / "classes.txt"
    listed.write_text("c\n\n  b \n", encoding="utf-8")
    assert main([str(tmp_path / "x.beton"), str(whole.path), "--classes", str(listed), "--count", "3"]) == 0
    chosen = open_beton(tmp_path / "x.beton")
    assert chosen.manifest is not None and chosen.manifest.classes == ("b", "c")
    assert chosen.num_samples == 3


def test_file_without_names_keeps_labels(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.beton", [7, 3, 7, 3, 3], named=False)
    subset(tmp_path / "x.beton", whole.path, Choice(per_class=1))
    chosen = open_beton(tmp_path / "x.beton")
    assert chosen.manifest is None and sorted(chosen.labels.tolist()) == [3, 7]


def test_count_above_available_takes_all_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = make(tmp_path / "whole.beton", [0, 0, 2])
    capsys.readouterr()
    assert main([str(tmp_path / "all.beton"), str(whole.path), "--count", "3"]) == 0
    assert "to choose from" not in capsys.readouterr().out
    assert main([str(tmp_path / "more.beton"), str(whole.path), "--count", "1000"]) == 0
    assert "note: --count 1,000: only 3 images match, all of them were taken\n" in capsys.readouterr().out


def test_invalid_selection_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.beton", [0, 0, 2])
    bare = make(tmp_path / "bare.beton", [0], named=False)
    latin, empty = tmp_path / "latin.txt", tmp_path / "empty.txt"
    latin.write_bytes(b"\xe9\n")
    empty.write_text("\n")
    for source, arguments, words in (
        (whole, [], "nothing is selected: pass --classes, --fraction, --count or --per-class"),
        (whole, ["--fraction", "1.5"], "--fraction 1.5 must be above 0 and below 1"),
        (whole, ["--fraction", "nan"], "--fraction nan must be above 0"),
        (whole, ["--count", "0"], "--count 0 must be at least 1"),
        (whole, ["--per-class", "-3"], "--per-class -3 must be at least 1"),
        (whole, ["--count", "1", "--seed", "-1"], "--seed -1 must be at least 0"),
        (whole, ["--classes", "d"], "has no class 'd'"),
        (whole, ["--classes", "b"], "none of the 3 images of .* is chosen"),
        (whole, ["--classes", str(latin)], "latin.txt is not a text file"),
        (whole, ["--classes", str(empty)], "empty.txt names no class"),
        (bare, ["--classes", "a"], "names no classes"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            main([str(tmp_path / "x.beton"), str(source.path), *arguments])
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="is there already"):
        main([str(whole.path), str(whole.path), "--count", "1"])
    assert not list(tmp_path.glob("x.beton*"))


def test_damaged_record_ends_subset_only_if_selected(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.beton", LABELS)
    overwrite(whole, 7, b"damage")
    subset(tmp_path / "x.beton", whole.path, Choice(classes=("a", "b")))
    with pytest.raises(UserError, match=r"whole\.beton: sample 7 \(0007\) can't be copied"):
        subset(tmp_path / "y.beton", whole.path, Choice(classes=("c",)))
    assert not list(tmp_path.glob("y.beton*"))
