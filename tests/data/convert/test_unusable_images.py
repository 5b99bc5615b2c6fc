"""Images that can't be read, or are too large to be: left out by their rule, or named with it, in every source."""

import errno
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.config.write import RulesConfig, SourceConfig
from engine.data.convert.chunk import Task, encode_chunk
from engine.data.convert.record import RecordSettings, make_record
from engine.data.sources import map_style
from engine.data.sources.access import location
from engine.data.sources.access.location import LocalPath, locate
from engine.data.sources.access.size_bound import images_bounded
from engine.data.sources.access.tar_index import PLACE, TarReader
from engine.data.sources.base import Content, UnusableImageError
from engine.data.storage import RAW
from engine.errors import UserError
from tests.data.conversions import convert_and_open
from tests.data.odd_files import jpeg, picture, save

Spoil = Callable[[Path, pytest.MonkeyPatch], None]


def _failing_with(number: int) -> Spoil:
    def spoil(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path.write_bytes(jpeg())
        opened = location._open

        def opens(name: str, flags: int) -> int:
            if name == str(path):
                raise OSError(number, os.strerror(number), name)
            return opened(name, flags)

        monkeypatch.setattr(location, "_open", opens)

    return spoil


SPOILT: dict[str, tuple[Spoil, str]] = {
    "dangling link": (lambda path, _: path.symlink_to("/nowhere/x.jpg"), "it does not exist"),
    "link to itself": (lambda path, _: path.symlink_to(path), "symbolic links"),
    "pipe": (lambda path, _: os.mkfifo(path), "is not an ordinary file"),
    "no permission": (_failing_with(errno.EACCES), "permission denied"),
    "disk error": (_failing_with(errno.EIO), "read/write error"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_unreadable_file_follows_its_rule(
    kind: str, make_tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {f"{number}.jpg": jpeg(seed=number) for number in range(3)}
    root = make_tree({"train": {"a": good}, "val": {"a": {"v.jpg": jpeg(seed=9)}}})
    spoil, reason = SPOILT[kind]
    spoil(root / "train/a/9.jpg", monkeypatch)
    with pytest.raises(
        UserError, match=r"train/a/9\.jpg.*: pass --rules\.unreadable=skip, with which"
    ) as caught:
        convert_and_open(root, tmp_path / "out", order="source")
    assert reason in str(caught.value) and str(caught.value).count("9.jpg") <= 2
    train, _ = convert_and_open(root, tmp_path / "out", {"unreadable": "skip"}, order="source")
    assert train.manifest is not None and train.num_samples == 3
    ((name, rule, why),) = train.manifest.rejects
    assert (name, rule) == ("a/9.jpg", "unreadable") and reason in why


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT])
def test_lost_server_ends_the_conversion_whatever_the_rule(
    number: int, make_tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tree({"train": {"a": {"0.jpg": jpeg()}}, "val": {"a": {"v.jpg": jpeg(seed=9)}}})
    _failing_with(number)(root / "train/a/9.jpg", monkeypatch)
    with pytest.raises(UserError, match=r"cannot read .*9\.jpg"):
        convert_and_open(root, tmp_path / "out", {"unreadable": "skip"})


def test_parquet_row_without_image_follows_the_rule(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    kind = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    for split in ("train", "val"):
        rows = [None if i == 3 else {"bytes": jpeg(seed=i), "path": None} for i in range(6)]
        table = arrow.table({"image": arrow.array(rows, kind), "label": [0, 1] * 3})
        parquet.write_table(table, tmp_path / f"{split}-0.parquet")
    with pytest.raises(
        UserError, match=r"row 3 of .*val-0\.parquet: it holds no image bytes.*unreadable=skip"
    ):
        convert_and_open(tmp_path, tmp_path / "out", order="source")
    train, val = convert_and_open(tmp_path, tmp_path / "out", {"unreadable": "skip"}, order="source")
    assert train.num_samples == val.num_samples == 5


class _Items:
    """A data set in Python of which some items fail."""

    def __init__(self, *items: Any) -> None:
        self.items, self.targets = items, [0] * len(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index], 0


@pytest.fixture
def items(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Gives the path of a data set of these items, with one sound image for val."""

    def path(*items: Any) -> str:
        module = ModuleType("unusable")
        vars(module)["splits"] = {"train": _Items(*items), "val": _Items(jpeg(seed=9))}
        monkeypatch.setitem(sys.modules, "unusable", module)
        return "python:unusable:splits"

    yield path
    map_style._dataset.cache_clear()


@pytest.mark.parametrize("bad", [OSError("gone"), None])
@pytest.mark.parametrize("place", [0, 1])
def test_failing_item_follows_the_rule(
    items: Callable[..., str], bad: Any, place: int, tmp_path: Path
) -> None:
    path = items(*([bad, jpeg()] if place == 0 else [jpeg(), bad]))
    with pytest.raises(UserError, match=rf"item {place} of .*: pass --rules\.unreadable=skip"):
        convert_and_open(path, tmp_path / "out", order="source")  # type: ignore[arg-type]
    train, _ = convert_and_open(path, tmp_path / "out", {"unreadable": "skip"})  # type: ignore[arg-type]
    assert train.num_samples == 1


# --- sizes


def _settings(**rules: Any) -> RecordSettings:
    return RecordSettings(
        max_resolution=0, short_side=0, jpeg_quality=90, max_bytes=2**23, rules=RulesConfig(**rules)
    )


def test_huge_file_is_left_out_unread(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    root = make_tree({"train": {"a": {"0.jpg": jpeg()}}, "val": {"a": {"v.jpg": jpeg(seed=9)}}})
    # More than any machine's memory.
    os.truncate(os.open(root / "train/a/huge.jpg", os.O_CREAT | os.O_WRONLY), 2**42)
    words = r"huge\.jpg: it has 4\.4 TB, more than rules\.max_megabytes=500: pass --rules\.oversized=skip or"
    with pytest.raises(UserError, match=words):
        convert_and_open(root, tmp_path / "out")
    with pytest.raises(UserError, match=r"huge\.jpg: there is not enough memory for it: pass --rules\.overs"):
        convert_and_open(root, tmp_path / "out", {"oversized": "repair"})
    train, _ = convert_and_open(root, tmp_path / "out", {"oversized": "skip"})
    assert train.manifest is not None and train.manifest.odd == {"oversized": 1}


def test_every_source_is_bounded_before_reading(tmp_path: Path) -> None:
    file = tmp_path / "2.jpg"
    file.write_bytes(bytes(2_000_000))
    memory = SourceConfig(path="memory://bounded/2.jpg")
    place = np.zeros(1, PLACE)
    place["size"] = 2_000_000
    reads: list[Callable[[], Content]] = [
        LocalPath(str(file)).read,
        locate(memory).read,
        lambda: TarReader(LocalPath(str(tmp_path)), ("2.jpg",)).read(place[0]),
    ]
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe_file("/bounded/2.jpg", bytes(2_000_000))
    for read in reads:
        words = r"it has 2\.0 MB, more than rules\.max_megabytes=1"
        with (
            images_bounded(RulesConfig(max_megabytes=1)),
            pytest.raises(UnusableImageError, match=words) as caught,
        ):
            read()
        assert caught.value.kind == "oversized"
        for rules in (RulesConfig(max_megabytes=2), RulesConfig(max_megabytes=1, oversized="repair")):
            with images_bounded(rules):
                assert read() == bytes(2_000_000)
        assert read() == bytes(2_000_000)


def test_empty_remote_file_is_read_where_servers_give_no_range(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bounded/0.jpg", b"")

    def cat_file(path: str, start: int | None = None, end: int | None = None) -> bytes:
        raise OSError(errno.EINVAL, "The requested range is not satisfiable")

    monkeypatch.setattr(type(memory), "cat_file", staticmethod(cat_file))
    with images_bounded(RulesConfig()):
        assert locate(SourceConfig(path="memory://bounded/0.jpg")).read() == b""
        memory.pipe_file("/bounded/1.jpg", b"x")
        with pytest.raises(UserError, match="not satisfiable"):
            locate(SourceConfig(path="memory://bounded/1.jpg")).read()


def test_large_value_of_any_source_is_oversized() -> None:
    content = jpeg() + bytes(1_000_000)
    outcome = make_record(content, "", RAW.mode, _settings(max_megabytes=1))
    assert (outcome.rejected, outcome.reason) == (
        "oversized",
        "it has 1.0 MB, more than rules.max_megabytes=1",
    )
    assert make_record(content, "", RAW.mode, _settings(max_megabytes=1, oversized="repair")).record


def test_bomb_within_an_icon_is_not_decoded() -> None:
    # An icon whose header says 16 x 16, with a PNG of more in it.
    png = save(Image.new("1", (1100, 1000)), "PNG")
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(png), 22) + png
    outcome = make_record(icon, "a.ico", RAW.mode, _settings(max_megapixels=1))
    assert (outcome.rejected, outcome.record) == ("oversized", b"")
    assert make_record(icon, "a.ico", RAW.mode, _settings(max_megapixels=2)).record
    assert make_record(icon, "a.ico", RAW.mode, _settings(max_megapixels=1, oversized="repair")).record


def test_too_little_memory_names_the_image_and_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Source:
        def read(self, place: int) -> bytes:
            return save(picture(), "PNG")

        def where(self, place: int) -> str:
            return f"image {place}"

    def failing(content: object, *options: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr("engine.data.decode.pillow_pixels.np.asarray", failing)
    task = Task(
        first=0,
        ids=["a"],
        places=[7],
        modes=np.array([RAW.mode], np.uint8),
        reader=Source(),
        settings=_settings(),
    )
    with pytest.raises(
        UserError, match=r"image 7: there is not enough memory for it: pass --rules\.oversized=skip"
    ):
        encode_chunk(task)
