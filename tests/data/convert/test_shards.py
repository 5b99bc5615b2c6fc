"""Shards in sequence are the whole file; one that is malformed or empty is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data.beton.reader import Beton
from engine.errors import UserError
from tests.data.conversions import convert_and_open


@pytest.mark.parametrize("mode", ["jpeg", "proportion"])
def test_shards_in_sequence_are_the_whole_file(pets: Path, tmp_path: Path, mode: str) -> None:
    for split in ("train", "val"):
        (pets / split / "dog/empty.jpg").touch()
    options: dict[str, Any] = {"format": mode, "subset": 30, "seed": 5}
    whole, _ = convert_and_open(pets, tmp_path / "whole", {"empty": "skip"}, **options)
    shards = [
        convert_and_open(pets, tmp_path, {"empty": "skip"}, shard=f"{i}/3", **options)[0] for i in (1, 2, 3)
    ]
    assert [shard.path.name for shard in shards] == [f"train.{i}-of-3.beton" for i in (1, 2, 3)]
    manifests = [shard.manifest for shard in shards]
    assert whole.manifest is not None
    assert [m.shard for m in manifests if m] == ["1/3", "2/3", "3/3"]
    for name in ("ids", "source_numbers", "rejects"):
        parts = [item for m in manifests for item in getattr(m, name)]
        assert parts == list(getattr(whole.manifest, name)), name
    records = [_record(shard, index) for shard in shards for index in range(shard.num_samples)]
    assert records == [_record(whole, index) for index in range(whole.num_samples)]
    for name in ("images", "labels", "checksums"):
        together = np.concatenate([getattr(shard, name) for shard in shards])
        expected = getattr(whole, name).copy()
        if name == "images":
            together["data_ptr"] = expected["data_ptr"] = 0
        np.testing.assert_array_equal(together, expected)


def _record(beton: Beton, index: int) -> bytes:
    start = int(beton.images["data_ptr"][index])
    return beton.memory()[start : start + int(beton.sizes[index])].tobytes()


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/0", "a/b", "1/3/5", "-1/3"])
def test_malformed_shard_is_refused(pets: Path, tmp_path: Path, shard: str) -> None:
    with pytest.raises(UserError, match=r"output\.shard: .* is not i/n with i from 1 to n, such as 1/8"):
        convert_and_open(pets, tmp_path / "out", shard=shard)
    assert not (tmp_path / "out").exists()


def test_shard_without_images_is_refused(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="val has only 7 images: use fewer shards"):
        convert_and_open(pets, tmp_path / "out", shard="1/8")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rule", ["duplicate", "leak"])
def test_shard_with_copy_rules_is_refused(pets: Path, tmp_path: Path, rule: str) -> None:
    with pytest.raises(UserError, match=r"need all images, and --output\.shard has only some"):
        convert_and_open(pets, tmp_path / "out", {rule: "skip"}, shard="1/2")
    assert not (tmp_path / "out").exists()
