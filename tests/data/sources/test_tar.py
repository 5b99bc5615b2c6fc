"""Members of a tar are found where tarfile finds them, and a tar that isn't whole is refused."""

import os
import tarfile
from pathlib import Path
from typing import Literal

import pytest

from engine.data.sources.access.location import LocalPath
from engine.data.sources.access.tar_index import Member, Window, members, places
from engine.errors import UserError
from tests.data.sources.forms import packed, write_tar

FILES = [
    ("a.jpg", b"x" * 511),
    ("folder/b.jpg", b"y" * 512),
    ("./c.jpg", b""),
    ("deep/" * 18 + "name of a hundred characters and more.jpg", b"z" * 513),
    ("one_name_of_more_than_a_hundred_characters_" * 4 + ".jpg", b"w" * 5000),
    ("vögel/\N{SNOWMAN}.jpg", b"v" * 3),
]


def _found(path: Path, block: int = 0) -> list[Member]:
    return list(members(Window(LocalPath(str(path)), block)))


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("block", [512, 0, 10**6])
def test_members_are_where_tarfile_finds_them(tmp_path: Path, format: int, block: int) -> None:
    path = write_tar(tmp_path / "x.tar", FILES, format)
    with tarfile.open(path) as tar:
        expected = [(one.name.removeprefix("./"), one.offset_data, one.size) for one in tar]
    assert [name for name, _, _ in expected] == [name.removeprefix("./") for name, _ in FILES]
    assert _found(path, block) == expected
    assert places(_found(path), 3).tolist() == [(3, offset, size) for _, offset, size in expected]


def test_names_in_two_parts_are_joined(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", FILES[:4], tarfile.USTAR_FORMAT)
    assert [member.name for member in _found(path)] == [name.removeprefix("./") for name, _ in FILES[:4]]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_member_above_8_gigabytes_is_skipped(tmp_path: Path, format: Literal[1, 2]) -> None:
    size = 9 * 2**30
    member = tarfile.TarInfo("large.tar")
    member.size = size
    header = member.tobuf(format)
    with open(tmp_path / "x.tar", "wb") as file:
        file.write(header)
        file.seek(len(header) + size)
        file.write(packed([("after.jpg", b"x")]))
    assert _found(tmp_path / "x.tar") == [
        ("large.tar", len(header), size),
        ("after.jpg", len(header) + size + 512, 1),
    ]


def test_folders_are_skipped_and_empty_tar_is_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "k"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"a")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(folder, "k")
    assert [member.name for member in _found(tmp_path / "x.tar")] == ["k/a.jpg"]
    window = Window(LocalPath(str(tmp_path / "x.tar")))
    assert [member.name for member in members(window, folders=True)] == ["k/", "k/a.jpg"]
    assert _found(write_tar(tmp_path / "empty.tar", [])) == []


def test_tar_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = packed(FILES[:3])
    # tarfile fills up to 10,240 bytes with zeros; the end mark is the first two blocks of them.
    end = whole.rindex(b"c.jpg") // 512 * 512 + 512
    for size in [*range(0, end + 1, 256), end - 1, end + 511]:
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut\.tar is cut short: .*: get it again$"):
            _found(tmp_path / "cut.tar")
    (tmp_path / "cut.tar").write_bytes(whole[: end + 1024])
    assert len(_found(tmp_path / "cut.tar")) == 3


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"hello" * 1000, "is not a tar: get it again"),
        (b"\x1f\x8b\x08" + bytes(1000), "is not a tar: it is compressed: uncompress it first"),
        (b"BZh9" + bytes(1000), "is not a tar: it is compressed"),
        (
            packed([("a", b"1" * 600)])[:1536] + b"\1" * 1024,
            "is damaged: there is no tar header at byte 1,536",
        ),
    ],
)
def test_file_that_is_no_tar_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(UserError) as caught:
        _found(tmp_path / "x.tar")
    assert str(caught.value).startswith(f"{tmp_path}/x.tar {expected}")


@pytest.mark.parametrize(
    "records",
    [
        b"no records",
        b"x path=a\n",
        b"0 path=a\n",
        b"-9 path=a\n",
        b"9" * 5000,
        b"9",
        b"9 path\n",
        b"99 path=a\n",
        b"8 path=a\n",
        b"11 size=-1\n",
        b"9 size=x\n",
        b"5009 size=" + b"9" * 4998 + b"\n",
    ],
)
def test_malformed_pax_records_are_refused(tmp_path: Path, records: bytes) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    block = header.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512)
    (tmp_path / "x.tar").write_bytes(packed([("a.jpg", b"x")])[:1024] + block + packed([("b.jpg", b"x")]))
    with pytest.raises(UserError) as caught:
        _found(tmp_path / "x.tar")
    assert str(caught.value) == (
        f"{tmp_path}/x.tar is damaged: byte 1,536 begins no list of pax records: get it again"
    )


def test_negative_size_is_refused(tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"-0000001000\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "x.tar").write_bytes(packed([("a.jpg", b"x")])[:1024] + header + bytes(1024))
    with pytest.raises(UserError, match=r"is damaged: there is no tar header at byte 1,024"):
        _found(tmp_path / "x.tar")


def test_links_are_refused_not_skipped(tmp_path: Path) -> None:
    os.symlink("elsewhere.jpg", tmp_path / "link.jpg")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(tmp_path / "link.jpg", "link.jpg")
    with pytest.raises(UserError, match=r"x\.tar: its member link\.jpg is a link"):
        _found(tmp_path / "x.tar")
