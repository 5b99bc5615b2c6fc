"""Images of the same content in two classes: told always, and kept, left out with all their copies, or refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.data.beton.reader import open_beton
from engine.data.convert.split_writer import SplitWriter
from engine.data.edit.merge import merge
from engine.data.edit.shard_copies import CopyRules
from engine.errors import UserError
from tests.data.conversions import convert_and_open, convert_here, stored_pixels
from tests.data.odd_files import picture, save

Capture = pytest.CaptureFixture[str]
A, B, C, D = (save(picture(seed=seed), "PNG") for seed in range(4))


def _tree(make_tree: Callable[..., Path]) -> Path:
    """A is twice in cat and once in dog, B in dog only and in val's cat, C twice in dog, D in cat alone."""
    train = {
        "cat": {"1a.png": A, "2a.png": A, "3d.png": D},
        "dog": {"4a.png": A, "5b.png": B, "6c.png": C, "7c.png": C, "8a.png": A},
    }
    return make_tree(
        {"train": train, "val": {"cat": {"vb.png": B}, "dog": {"vx.png": save(picture(seed=9), "PNG")}}}
    )


@pytest.mark.parametrize(
    ("rules", "ids"),
    [
        ({}, "1a 2a 3d 4a 5b 6c 7c 8a"),
        # The first one's label stays, which is told.
        ({"duplicate": "skip"}, "1a 3d 5b 6c"),
        ({"conflict": "skip"}, "3d 6c 7c"),
        ({"conflict": "skip", "duplicate": "skip"}, "3d 6c"),
        ({"leak": "skip"}, "1a 2a 3d 4a 6c 7c 8a"),
    ],
)
@pytest.mark.parametrize("order", ["source", "shuffled"])
def test_copies_of_two_classes_follow_their_rule(
    make_tree: Callable[..., Path], tmp_path: Path, rules: dict[str, str], ids: str, order: str
) -> None:
    train, val = convert_and_open(_tree(make_tree), tmp_path / "out", rules, format="raw", order=order)
    assert train.manifest is not None
    found = {name[4:6] for name in train.manifest.ids}
    if order == "source":
        assert found == set(ids.split())
    else:
        # Which of several is the first depends on the order, how many are left does not.
        assert {name[1] for name in found} == {name[1] for name in ids.split()}
    pictures = dict(zip("abcd", (picture(seed=seed) for seed in range(4)), strict=True))
    for index, (name, label) in enumerate(zip(train.manifest.ids, train.labels, strict=True)):
        assert (stored_pixels(train, index) == pictures[name[5]]).all()
        assert train.manifest.classes[label] == name[:3]
    rejects = [name for name, _, _ in train.manifest.rejects]
    assert len(rejects) == 8 - train.num_samples
    assert order != "source" or rejects == sorted(rejects)
    assert not {name for name, _ in train.manifest.duplicates} & set(rejects)
    assert val.num_samples == 2


def test_conflict_is_counted_and_its_first_named(
    make_tree: Callable[..., Path], tmp_path: Path, capsys: Capture
) -> None:
    convert_here(_tree(make_tree), tmp_path / "out", order="source")
    assert (
        "  warning: 3 images have the same content as one of another class, so a label is wrong "
        "(rules.conflict=keep), such as dog/4a.png: it is of class dog "
        "and has the same content as cat/1a.png, of class cat\n"
    ) in capsys.readouterr().out
    convert_here(tmp_path / "source", tmp_path / "skipped", {"conflict": "skip"}, order="source")
    assert "  warning: 5 images have the same content as one of another class" in capsys.readouterr().out


def test_conflict_with_rule_fail_names_both_and_the_rule(
    make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    words = (
        r"dog/4a\.png: it is of class dog and has the same content as cat/1a\.png, of class cat: pass "
        r"--rules\.conflict=skip or --rules\.conflict=keep, with which"
    )
    with pytest.raises(UserError, match=words):
        convert_here(_tree(make_tree), tmp_path / "out", {"conflict": "fail"}, order="source")


def test_contested_image_of_val_is_left_out_of_train_too(
    make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    tree = make_tree(
        {"train": {"cat": {"1.png": A, "2.png": B}, "dog": {"3.png": C}},
         "val": {"cat": {"4.png": A, "5.png": D}, "dog": {"6.png": A, "7.png": C}}}
    )  # fmt: skip
    train, val = convert_and_open(tree, tmp_path / "out", {"conflict": "skip"}, order="source")
    assert train.manifest is not None and val.manifest is not None
    assert val.manifest.ids == ("cat/5.png", "dog/7.png")
    assert train.manifest.ids == ("cat/2.png", "dog/3.png")
    assert train.manifest.odd == {"conflict": 1, "leak": 1}


def test_image_left_out_for_val_is_withdrawn_only_once(
    make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    other = {"v.png": save(picture(seed=9), "PNG")}
    tree = make_tree(
        {"train": {"cat": {"1.png": A, "2.png": A}, "dog": {"3.png": A, "4.png": B}},
         "val": {"cat": other, "dog": {"5.png": A}}}
    )  # fmt: skip
    train, _ = convert_and_open(tree, tmp_path / "out", {"conflict": "skip"}, order="source")
    assert train.manifest is not None
    assert train.manifest.ids == ("dog/3.png", "dog/4.png")
    assert [name for name, _, _ in train.manifest.rejects] == ["cat/1.png", "cat/2.png"]
    assert train.manifest.odd == {"conflict": 2, "leak": 3}


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_interrupted_conversion_with_conflicts_gives_the_same_file(
    make_tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: int
) -> None:
    root, options = _tree(make_tree), {"order": "source"}
    monkeypatch.setattr("engine.data.convert.conversion.USUAL_CHUNK", 2)
    take, taken = SplitWriter.take, [0]

    def interrupted(self: SplitWriter, *parts: Any) -> None:
        take(self, *parts)
        taken[0] += self.plan.split == "train"
        if taken[0] == chunks + 1:
            raise KeyboardInterrupt

    rules = {"conflict": "skip"}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SplitWriter, "take", interrupted)
        convert_here(root, tmp_path / "out", rules, **options)
    resumed, fresh = (convert_here(root, tmp_path / name, rules, **options) for name in ("out", "fresh"))
    for split in resumed:
        assert resumed[split].read_bytes() == fresh[split].read_bytes()


def test_file_whose_last_image_was_withdrawn_is_sound(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    root = make_tree(
        {"train": {"cat": {"1.png": A, "2.png": B}, "dog": {"3.png": C, "4.png": B}},
         "val": {"cat": {"5.png": D}, "dog": {"6.png": save(picture(seed=9), "PNG")}}}
    )  # fmt: skip
    for seed in range(4):
        train, _ = convert_and_open(
            root, tmp_path / str(seed), {"conflict": "skip"}, format="raw", order="shuffled", seed=seed
        )
        assert train.manifest is not None
        assert sorted(train.manifest.ids) == ["cat/1.png", "dog/3.png"]
        assert train.manifest.counts == {"samples": 2, "raw": 2, "jpeg": 0} | train.manifest.counts


def test_pages_of_withdrawn_images_at_the_end_leave_a_sound_file(
    make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    # A class folder that is there twice, by two names.
    twice = {f"{seed}.png": save(picture(600, 700, seed), "PNG") for seed in range(5)}
    root = make_tree(
        {
            "train": {"a": {"1.png": A}, "b": twice, "c": twice},
            "val": {name: {"v.png": save(picture(seed=90 + ord(name)), "PNG")} for name in "abc"},
        }
    )
    train, _ = convert_and_open(
        root,
        tmp_path / "out",
        {"conflict": "skip"},
        format="raw",
        order="source",
        page_size=2,
        max_resolution=0,
    )
    assert train.manifest is not None and train.manifest.ids == ("a/1.png",)
    assert len(train.manifest.rejects) == train.manifest.odd["conflict"] == 10


def test_split_of_conflicts_alone_is_refused(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    root = make_tree({split: {"cat": {"1.png": A}, "dog": {"2.png": A}} for split in ("train", "val")})
    with pytest.raises(UserError, match=r"all 2 images of val were left out by rules\.\(conflict\)"):
        convert_here(root, tmp_path / "out", {"conflict": "skip"})


@pytest.mark.parametrize("rule", ["keep", "skip"])
@pytest.mark.parametrize("others", [{}, {"duplicate": "skip"}, {"leak": "skip"}])
def test_merged_shards_hold_what_one_conversion_does(
    make_tree: Callable[..., Path], tmp_path: Path, rule: str, others: dict[str, str]
) -> None:
    root = _tree(make_tree)
    whole, _ = convert_and_open(root, tmp_path / "whole", {"conflict": rule, **others})
    shards = [convert_here(root, tmp_path / "shards", shard=f"{part}/2") for part in (1, 2)]
    output = tmp_path / "merged.beton"
    rules = CopyRules(conflict=rule, **others)
    merge(output, [one["train"] for one in shards], False, val=[one["val"] for one in shards], rules=rules)
    merged = open_beton(output)
    assert merged.manifest is not None and whole.manifest is not None
    assert merged.manifest.ids == whole.manifest.ids
    assert merged.labels.tolist() == whole.labels.tolist()
    assert merged.manifest.odd == whole.manifest.odd
    assert set(merged.manifest.duplicates) == set(whole.manifest.duplicates)


def test_rule_for_conflicts_is_refused_in_a_shard(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"rules\.conflict need all images, .*--conflict to python -m engine merge"
    ):
        convert_here(_tree(make_tree), tmp_path / "out", {"conflict": "skip"}, shard="1/2")
