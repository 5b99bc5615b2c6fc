"""What a data set states of its files and images is compared with what is there; other files say nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data.sources.forms import open_source, refused, write_tar

SPLITS = {"train": {"num_examples": 4}, "validation": {"num_examples": 2}, "test": {"num_examples": 77}}


def _shards(folder: Path, *names: str) -> Path:
    """Shards of two samples each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        write_tar(
            folder / name, [(f"{name[:-4]}-{i}.{end}", b"0") for i in range(2) for end in ("jpg", "cls")]
        )
    return folder


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Path]:
    """Two shards of train and one of val."""
    yield _shards(tmp_path / "set", "train-0.tar", "train-1.tar", "val-0.tar")


def _card(info: str) -> str:
    return f"---\nlicense: mit\ndataset_info:\n{info}---\n# A data set\n"


_YAML = "  splits:\n  - name: train\n    num_examples: {}\n  - name: validation\n    num_examples: 2\n"


def _wids(*sizes: int) -> dict[str, Any]:
    return {"shardlist": [{"url": f"train-{i}.tar", "nsamples": size} for i, size in enumerate(sizes)]}


def _timm(*sizes: int) -> dict[str, Any]:
    names = [f"train-{i}.tar" for i in range(len(sizes))]
    train = {"num_samples": sum(sizes), "filenames": names, "shard_lengths": sizes, "name": "train"}
    return {"splits": {"train": train}}


STATEMENTS = [
    ("dataset_info.json", {"splits": SPLITS}),
    ("dataset_infos.json", {"default": {"splits": SPLITS}}),
    ("README.md", _card(_YAML.format(4))),
    ("train.json", _wids(2, 2)),
    ("_info.json", _timm(2, 2)),
    ("sizes.json", {"train-0.tar": 2, "train-1.tar": 2, "val-0.tar": 2}),
]


def _write(path: Path, content: Any) -> None:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(("name", "content"), STATEMENTS)
def test_whole_set_is_accepted_and_one_without_a_file_refused(whole: Path, name: str, content: Any) -> None:
    _write(whole / name, content)
    assert len(open_source(whole)) == 4
    assert len(open_source(whole, "val")) == 2
    (whole / "train-1.tar").unlink()
    said = refused(whole)
    assert said.startswith(f"{whole}/{name} ")
    assert said.endswith(", or pass --source.check_counts=false to convert what is there")
    assert len(open_source(whole, check_counts=False)) == 2


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "README.md",
            _card(_YAML.format(5)),
            "states 5 images of train, and {} has 4: get the data set again",
        ),
        (
            "dataset_info.json",
            {"splits": {"train": {"num_examples": 3}}},
            "states 3 images of train, and {} has 4",
        ),
        (
            "train.json",
            _wids(2, 2, 2),
            "lists 3 files of train, of which 1 are missing in {}, such as train-2.tar",
        ),
        ("train.json", _wids(2, 3), "states 3 images in train-1.tar, and it has 2"),
        ("_info.json", _timm(2, 2, 1), "such as train-2.tar"),
        ("sizes.json", {"train-0.tar": 9}, "states 9 images in train-0.tar, and it has 2"),
    ],
)
def test_other_numbers_are_refused_naming_the_file(
    whole: Path, name: str, content: Any, expected: str
) -> None:
    _write(whole / name, content)
    assert f"{whole}/{name} {expected.format(whole)}" in refused(whole) or expected in refused(whole)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README.md", "# About 1,000,000 images\n"),
        ("README.md", "---\n: : {\n---\n"),
        ("README.md", "---\ndataset_info: 5\n---\n"),
        ("README.md", _card("- config_name: a\n  splits:\n  - name: train\n    num_examples: 9\n- config_name: b\n")),
        ("dataset_info.json", "{"),
        ("dataset_info.json", "[" * 100_000),
        ("dataset_info.json", {"splits": {"train": {"num_examples": "9"}, "test": 5}}),
        ("dataset_info.json", {"splits": {"train": {"num_examples": 9}, "train_extra": {"num_examples": 9}}}),
        ("_info.json", {"splits": ["train"]}),
        ("train.json", {"shardlist": ["train-7.tar", {"url": "val-9.tar"}]}),
        ("other.json", _wids(9)),
        ("sizes.json", [1]),
    ],
)  # fmt: skip
def test_files_that_state_nothing_are_ignored(whole: Path, name: str, content: Any) -> None:
    _write(whole / name, content)
    assert len(open_source(whole)) == 4


def test_file_above_the_shards_counts_for_its_own_folder_only(tmp_path: Path) -> None:
    for folder in ("set/data", "set/small"):
        _shards(tmp_path / folder, "train-0.tar", "val-0.tar")
    _write(tmp_path / "set/README.md", _card(_YAML.format(4)))
    assert f"{tmp_path}/set/README.md states 4 images of train" in refused(tmp_path / "set")
    assert len(open_source(tmp_path / "set/small")) == 2
    _write(tmp_path / "set/train.json", _wids(2, 2))
    assert len(open_source(tmp_path / "set/small")) == 2
    info = {"small": {"splits": {"train": {"num_examples": 3}}}, "data": {}}
    _write(tmp_path / "set/dataset_infos.json", info)
    assert "dataset_infos.json states 3 images of train" in refused(tmp_path / "set/small")


def test_number_of_shards_beside_a_split_is_compared(tmp_path: Path) -> None:
    for split in ("train", "val"):
        _write(_shards(tmp_path / split, "0.tar", "1.tar") / "nshards.txt", "3")
    for split, shown in (("train", "train"), ("val", "val")):
        said = refused(tmp_path, "train" if split == "train" else "val")
        assert f"{tmp_path}/{shown}/nshards.txt states 3 files of {split}, and " in said
        _write(tmp_path / split / "nshards.txt", "2\n")
    assert len(open_source(tmp_path)) == len(open_source(tmp_path, "val")) == 4
