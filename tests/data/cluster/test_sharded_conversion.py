"""A conversion in shards: bytes of one machine's, continued after any end, refused where it is another one."""

import io
import json
import os
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.data.cluster.attempt import Attempt
from engine.data.cluster.sharded_conversion import convert_in_shards
from engine.errors import UserError
from tests.data.cluster.conftest import Here, in_shards
from tests.data.cluster.kills import enough_shards, run_killed, shard_processes
from tests.data.conftest import command, jpeg_bytes, photo
from tests.data.conversions import converted, names


@pytest.fixture
def source(pets: Path) -> Path:
    """With an empty file, a gray image, and images that are in both splits and in both classes."""
    (pets / "train/cat/empty.jpg").touch()
    for place in ("val/dog/copy.jpg", "train/cat/copy.jpg", "train/dog/copy.jpg"):
        (pets / place).write_bytes(jpeg_bytes(photo(30, 40, seed=99)))
    return pets


SKIP = {"empty": "skip"}


def result(folder: Path) -> dict[str, bytes]:
    assert names(folder) == ["train.beton", "val.beton"]
    return {split: (folder / f"{split}.beton").read_bytes() for split in ("train", "val")}


@pytest.mark.parametrize(
    "rules",
    [SKIP, {**SKIP, "leak": "skip"}, {**SKIP, "duplicate": "skip"}],
    ids=["keep", "leak", "duplicate"],
)
def test_result_has_the_bytes_of_one_machines(source: Path, tmp_path: Path, here: Here, rules: Any) -> None:
    whole = converted(source, tmp_path / "whole", rules, order="shuffled")
    convert_in_shards(in_shards(source, tmp_path / "out", rules))
    assert result(tmp_path / "out") == whole
    assert here.made == ["1/3", "2/3", "3/3"]


def test_local_processes_make_the_bytes_of_one_machines(source: Path, tmp_path: Path, capsys: Any) -> None:
    whole = converted(source, tmp_path / "whole", SKIP, order="shuffled")
    convert_in_shards(in_shards(source, tmp_path / "out", SKIP, shards=2, workers=2))
    assert result(tmp_path / "out") == whole
    said = capsys.readouterr().out
    assert f"51 images in 2 shards in {tmp_path}/out/shards: 0 shards finished, 2 at a time" in said


@pytest.mark.slow
def test_random_kills_of_shards_change_no_byte(source: Path, tmp_path: Path) -> None:
    kills = int(os.environ.get("KILLS", "4"))
    shards = enough_shards(kills, source)
    whole = converted(source, tmp_path / "whole", SKIP, order="shuffled")
    options = [f"source.path={source}", f"output.folder={tmp_path}/out", "output.num_workers=2"]
    options += ["rules.empty=skip", f"run.shards={shards}", "run.workers=2"]
    begun = tmp_path / "out/shards/conversion.json"
    killed = run_killed(command(*options), shard_processes, kills, seconds=2, begun=begun)
    print(killed)
    assert killed.total() == kills
    assert result(tmp_path / "out") == whole


def test_finished_conversion_given_again_does_nothing(
    source: Path, tmp_path: Path, here: Here, capsys: Any
) -> None:
    config = in_shards(source, tmp_path / "out", SKIP)
    convert_in_shards(config)
    made = len(here.made)
    convert_in_shards(config)
    assert len(here.made) == made
    assert "complete already" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"was made with output\.order=shuffled, not source"):
        convert_in_shards(in_shards(source, tmp_path / "out", SKIP, order="source"))


def test_missing_shards_alone_are_made_again(source: Path, tmp_path: Path, here: Here) -> None:
    whole = converted(source, tmp_path / "whole", SKIP, order="shuffled")
    config = in_shards(source, tmp_path / "out", SKIP)

    def stop(attempt: Attempt) -> str:
        if attempt.shard == "2/3":
            raise KeyboardInterrupt
        return ""

    here.before = stop
    with pytest.raises(KeyboardInterrupt):
        convert_in_shards(config)
    assert (tmp_path / "out/shards/1-of-3.done").read_bytes() == b""
    here.before, here.made = lambda attempt: "", []
    convert_in_shards(in_shards(source, tmp_path / "out", SKIP, shards=0, on="dask"))
    assert here.made == ["2/3", "3/3"]
    assert result(tmp_path / "out") == whole


def test_unmerged_shards_are_left_until_a_merge(
    source: Path, tmp_path: Path, here: Here, capsys: Any
) -> None:
    whole = converted(source, tmp_path / "whole", SKIP, order="shuffled")
    convert_in_shards(in_shards(source, tmp_path / "out", SKIP, merge=False))
    assert names(tmp_path / "out") == ["shards"]
    assert "all 3 shards are complete in" in capsys.readouterr().out
    convert_in_shards(in_shards(source, tmp_path / "out", SKIP))
    assert result(tmp_path / "out") == whole
    assert len(here.made) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shards": 4}, "was begun with 3 shards, which can't become 4: pass 3, or remove"),
        ({"order": "source"}, "was begun with output.order=shuffled, not source: choose another"),
    ],
)
def test_other_conversion_in_the_same_folder_is_refused(
    source: Path, tmp_path: Path, here: Here, change: Any, message: str
) -> None:
    convert_in_shards(in_shards(source, tmp_path / "out", SKIP, merge=False))
    with pytest.raises(UserError, match=message):
        convert_in_shards(in_shards(source, tmp_path / "out", SKIP, **change))


def test_shards_of_another_version_are_refused(source: Path, tmp_path: Path, here: Here) -> None:
    config = in_shards(source, tmp_path / "out", SKIP)
    note = tmp_path / "out/shards/conversion.json"

    def change(attempt: Attempt) -> str:
        note.write_text(json.dumps(json.loads(note.read_text()) | {"versions": {"pillow": "1.0"}}))
        return ""

    here.before = change
    with pytest.raises(UserError, match="another conversion was begun there meanwhile"):
        convert_in_shards(config)
    with pytest.raises(UserError, match=r"was begun with version of encoder=\(unknown\)"):
        convert_in_shards(config)


def test_more_shards_than_images_are_refused(source: Path, tmp_path: Path, here: Here) -> None:
    with pytest.raises(UserError, match=r"run\.shards: val has only 8 images: use at most as many"):
        convert_in_shards(in_shards(source, tmp_path / "out", SKIP, shards=9))


def test_bad_image_ends_the_conversion_by_name(source: Path, tmp_path: Path, here: Here) -> None:
    with pytest.raises(UserError, match=r"cannot use image .*empty\.jpg.*rules\.empty=skip"):
        convert_in_shards(in_shards(source, tmp_path / "out"))


@pytest.mark.parametrize("rules", [SKIP, {**SKIP, "grayscale": "skip"}], ids=["no image", "some images"])
def test_rule_may_change_between_tries(source: Path, tmp_path: Path, here: Here, rules: Any) -> None:
    """The first try ends at the empty image; finished shards that a changed rule concerns are made again."""
    gray = jpeg_bytes(photo(30, 40, seed=5))
    for name in ("train/dog/gray.jpg", "train/cat/gray2.jpg", "val/cat/gray.jpg"):
        (source / name).write_bytes(_as_gray(gray, len(name)))
    whole = converted(source, tmp_path / "whole", rules, order="shuffled")
    with pytest.raises(UserError, match=r"rules\.empty=skip"):
        convert_in_shards(in_shards(source, tmp_path / "out", order="shuffled"))
    convert_in_shards(in_shards(source, tmp_path / "out", rules))
    assert result(tmp_path / "out") == whole


def _as_gray(data: bytes, cut: int) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("L").crop((0, 0, 30, cut)).save(out, "jpeg")
    return out.getvalue()


def test_killed_attempts_are_made_again(source: Path, tmp_path: Path, here: Here) -> None:
    here.before = lambda attempt: "killed: by the test" if len(here.made) < 8 else ""
    convert_in_shards(in_shards(source, tmp_path / "out", SKIP))
    assert len(here.made) == 7 + 3


def test_shard_that_is_always_killed_ends_the_conversion(source: Path, tmp_path: Path, here: Here) -> None:
    here.before = lambda attempt: "killed: by the test" if attempt.shard == "2/3" else ""
    with pytest.raises(UserError, match=r"shard 2/3 was ended 10 times in a row .*num_workers"):
        convert_in_shards(in_shards(source, tmp_path / "out", SKIP))


@pytest.mark.parametrize("function", ["merge", "os.replace"])
def test_interrupted_merge_continues(
    source: Path, tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """The second call is interrupted: the merge of train, or train's renaming."""
    whole = converted(source, tmp_path / "whole", SKIP, order="shuffled")
    config = in_shards(source, tmp_path / "out", SKIP)
    name, calls = f"engine.data.cluster.join.{function}", list[int]()
    original = pkgutil.resolve_name(name)

    def second_is_interrupted(*args: Any, **options: Any) -> Any:
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(name, second_is_interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert_in_shards(config)
    convert_in_shards(config)
    assert result(tmp_path / "out") == whole
    assert len(here.made) == 3


def test_existing_file_is_refused_before_anything_is_done(source: Path, tmp_path: Path, here: Here) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/val.beton").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"val\.beton exists already"):
        convert_in_shards(in_shards(source, tmp_path / "out", SKIP))
    assert names(tmp_path / "out") == ["val.beton"]
    assert not here.made
