"""A .beton that was cut short, damaged or is none at all is one line, never a crash in a decoder."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton import layout
from engine.data.beton.reader import Beton, _read_bytes, open_beton
from engine.data.convert.conversion import convert
from engine.data.storage import JPEG, RAW
from engine.errors import UserError
from tests.data.betons import drop_checksums, drop_manifest

_FIELDS_START = layout.HEADER.itemsize
_SAMPLES_START = _FIELDS_START + 2 * layout.FIELD.itemsize
_SAMPLE = layout.sample_dtype([layout.RGB_IMAGE_FIELD, layout.INT_FIELD])


@pytest.fixture
def beton(pets: Path, tmp_path: Path) -> Path:
    """A good file of 40 samples, about half of them raw."""
    output = OutputConfig(folder=str(tmp_path / "out"), format="proportion", num_workers=1, page_size=2)
    return convert(WriteConfig(source=SourceConfig(path=str(pets)), output=output))["train"]


def _refused(path: Path, *expected: str) -> None:
    with pytest.raises(UserError) as caught:
        open_beton(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for words in expected:
        assert words in message


def _map(path: Path, dtype: np.dtype[np.void], offset: int, count: int = 1) -> NDArray[np.void]:
    """A part of the file, to be changed in place."""
    return np.memmap(path, dtype, "r+", offset, (count,))


def _header(path: Path) -> NDArray[np.void]:
    return _map(path, layout.HEADER, 0)


def _fields(path: Path) -> NDArray[np.void]:
    return _map(path, layout.FIELD, _FIELDS_START, 2)


def _samples(path: Path) -> NDArray[np.void]:
    return _map(path, _SAMPLE, _SAMPLES_START, 40)


def _table(path: Path) -> NDArray[np.void]:
    return _map(path, layout.ALLOCATION, int(_header(path)["alloc_table_ptr"][0]), 40)


def _part(path: Path, place: int) -> NDArray[np.void]:
    inside = layout.FIELD.fields
    assert inside is not None
    offset = _FIELDS_START + layout.FIELD.itemsize + inside["arguments"][1] + place
    return _map(path, layout.PART, offset)


def test_good_file_opens(beton: Path) -> None:
    opened = open_beton(str(beton))
    assert isinstance(opened, Beton)
    assert (opened.path, opened.num_samples, opened.num_classes) == (beton, 40, 2)
    assert opened.page_size == 2 * 2**20
    assert opened.images.dtype == layout.IMAGE
    assert [a.dtype.str for a in (opened.labels, opened.sizes)] == ["<i8", "<u8"]
    for array in (opened.images, opened.labels, opened.sizes, opened.memory()):
        assert not array.flags.writeable
    assert opened.memory().shape == (beton.stat().st_size,)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    _refused(tmp_path / "none.beton", "does not exist")
    _refused(tmp_path, "is not a file")
    (tmp_path / "file").touch()
    _refused(tmp_path / "file/x.beton", "cannot open")


@pytest.mark.parametrize("content", [b"", b"hello", bytes(5000), b"\x89PNG" * 5000, b"\xff" * 5000])
def test_other_file_kinds_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.beton").write_bytes(content)
    _refused(tmp_path / "x.beton", "is not a .beton file")


def test_random_bytes_never_crash(beton: Path, tmp_path: Path) -> None:
    # Each run changes some bytes of header, descriptors, metadata or tail; it opens or is refused.
    good = beton.read_bytes()
    head, tail = _SAMPLES_START + 40 * _SAMPLE.itemsize, int(_header(beton)["alloc_table_ptr"][0])
    places = np.r_[0:head, tail : len(good)]
    random = np.random.default_rng(0)
    refused = 0
    path = tmp_path / "x.beton"
    path.write_bytes(good)
    for _ in range(150):
        changed = random.choice(places, 3)
        with open(path, "r+b") as file:
            for place in changed:
                file.seek(place)
                file.write(random.bytes(1))
        try:
            open_beton(path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
        with open(path, "r+b") as file:
            for place in changed:
                file.seek(place)
                file.write(good[place : place + 1])
    assert refused > 50


@pytest.mark.parametrize("share", [0.0001, 0.002, 0.3, 0.9, 0.99])
def test_cut_file_is_refused(beton: Path, share: float) -> None:
    size = beton.stat().st_size
    with open(beton, "r+b") as file:
        file.truncate(int(size * share))
    _refused(beton, "cut short")


def test_file_shrinking_while_read_is_refused() -> None:
    with pytest.raises(UserError, match=r"x\.beton became shorter while it was read"):
        _read_bytes(Path("x.beton"), io.BytesIO(bytes(100)), 90, 11)


@pytest.mark.parametrize("missing", [1, 24, 24 * 39])
def test_cut_allocation_table_is_refused(beton: Path, missing: int) -> None:
    with open(beton, "r+b") as file:
        file.truncate(beton.stat().st_size - missing)
    _refused(beton, "cut short")


def test_unfinished_ffcv_file_is_refused(beton: Path) -> None:
    # ffcv writes the header first with pointer 0, and again when all is done.
    _header(beton)["alloc_table_ptr"] = 0
    _refused(beton, "unfinished", "interrupted")


@pytest.mark.parametrize("pointer", [1, _SAMPLES_START, 2**40, 2**64 - 1])
def test_misplaced_allocation_table_is_refused(beton: Path, pointer: int) -> None:
    _header(beton)["alloc_table_ptr"] = pointer
    _refused(beton)


@pytest.mark.parametrize("version", [0, 1, 3])
def test_other_version_is_refused(beton: Path, version: int) -> None:
    _header(beton)["version"] = version
    _refused(beton, "not a .beton file of version 2")


@pytest.mark.parametrize("count", [41, 10**6, 2**62, 2**64 - 1])
def test_too_many_samples_are_refused(beton: Path, count: int) -> None:
    _header(beton)["num_samples"] = count
    _refused(beton)


def test_file_without_samples_is_refused(beton: Path) -> None:
    _header(beton)["num_samples"] = 0
    _refused(beton, "holds no images")


def test_other_fields_are_refused(beton: Path) -> None:
    fields = _fields(beton)
    fields["type_id"][1] = 0
    _refused(beton, "'label' (type 0)")
    fields["type_id"][1] = layout.INT_FIELD
    fields["name"][0][:5] = np.frombuffer(b"photo", np.uint8)
    _refused(beton, "'photo' (type 2)")
    fields["name"][0][:5] = 255
    _refused(beton, "has the fields")
    _header(beton)["num_fields"] = 3
    _refused(beton, "has 3 fields")


@pytest.mark.parametrize("pointer", [0, 8, 2**40, 2**64 - 8])
def test_record_outside_the_file_is_refused(beton: Path, pointer: int) -> None:
    _samples(beton)["f0"]["data_ptr"][3] = pointer
    _refused(beton, "sample 3 is not in the allocation table")
    _table(beton)["ptr"][3] = pointer
    _refused(beton, "sample 3 lies outside the file's data")


@pytest.mark.parametrize("size", [10**9, 2**63, 2**64 - 1])
def test_record_ending_outside_the_file_is_refused(beton: Path, size: int) -> None:
    _table(beton)["size"][5] = size
    _refused(beton, "sample 5 lies outside the file's data")


def test_undecodable_records_are_refused(beton: Path) -> None:
    samples = _samples(beton)
    raw = int(np.argmax(samples["f0"]["mode"] == RAW.mode))
    good = samples[raw].copy()
    samples["f0"]["width"][raw] += 1
    _refused(beton, f"sample {raw} is raw, but its bytes are not width x height x 3")
    samples["f0"]["width"][raw] = 0
    _refused(beton, f"sample {raw} has no pixels")
    samples[raw] = good
    samples["f0"]["mode"][raw] = 2
    _refused(beton, f"sample {raw} has an unknown storage mode")


def test_labels_without_a_class_are_refused(beton: Path) -> None:
    labels = _samples(beton)["f1"]
    labels[7:9] = -1
    _refused(beton, "sample 7 has a negative label (and 1 more like it)")
    labels[7:9] = 2
    _refused(beton, "sample 7 has a label without a class name")


def test_damaged_manifest_is_refused(beton: Path) -> None:
    record = _part(beton, layout.MANIFEST_PLACE)
    assert record["magic"][0] == layout.MANIFEST_MAGIC
    good = record.copy()
    text = np.memmap(beton, np.uint8, "r+")
    middle = int(good["offset"][0] + good["size"][0] // 2)
    text[middle] ^= 1
    _refused(beton, "its manifest (class names, settings) cannot be read")
    text[middle] ^= 1
    for key, value in (("crc32", 1), ("offset", 8), ("offset", 2**63), ("size", 3), ("size", 2**63)):
        record[key] = value
        _refused(beton, "its manifest (class names, settings) cannot be read")
        record[:] = good
    open_beton(beton)
    record["version"] = layout.MANIFEST_VERSION + 1
    _refused(beton, "later version of this engine")


def test_every_flipped_table_bit_is_noticed(beton: Path) -> None:
    # A label that became another class's is a wrong label: nothing but a checksum can tell.
    head, tail = _SAMPLES_START, int(_header(beton)["alloc_table_ptr"][0])
    content = np.memmap(beton, np.uint8, "r+")
    opened = open_beton(beton)
    assert opened.checksums is not None
    list_start = int(_part(beton, layout.CHECKSUMS_PLACE)["offset"][0])
    for start, size in ((head, opened.images.size * _SAMPLE.itemsize), (tail, 40 * 24), (list_start, 160)):
        for place in range(start, start + size, 7):
            content[place] ^= 1 << place % 8
            _refused(beton, "is damaged")
            content[place] ^= 1 << place % 8
    open_beton(beton)


def test_damaged_checksums_are_refused(beton: Path) -> None:
    part = _part(beton, layout.CHECKSUMS_PLACE)
    good = part.copy()
    for key, value in (("magic", b"ENGCRC3"), ("crc32", 1), ("offset", 8), ("offset", 2**63), ("size", 156)):
        part[key] = value
        _refused(beton, "its labels, sizes or checksums have changed")
        part[:] = good
    part["version"] = layout.CHECKSUMS_VERSION + 1
    _refused(beton, "later version of this engine")
    drop_checksums(beton)
    assert open_beton(beton).checksums is None


def _zero(path: Path, *places: int) -> None:
    """Blank the entries that say where a part lies, as a disk's or a cable's zeros do."""
    for place in places:
        _part(path, place)[:] = np.zeros(1, layout.PART)


def test_lost_checksums_entry_is_refused(beton: Path) -> None:
    _zero(beton, layout.CHECKSUMS_PLACE)
    _refused(beton, "its checksums are missing")


def test_lost_entries_do_not_pass_as_an_ffcv_file(beton: Path) -> None:
    good = beton.read_bytes()
    _zero(beton, layout.MANIFEST_PLACE)
    _refused(beton, "it no longer says where its manifest or checksums are")
    _zero(beton, layout.CHECKSUMS_PLACE)
    _refused(beton, "it no longer says where its manifest or checksums are")
    # Also when a single byte is left of them.
    content = np.memmap(beton, np.uint8, "r+")
    content[:] = np.frombuffer(good, np.uint8)
    parts = [_part(beton, place).copy() for place in (layout.MANIFEST_PLACE, layout.CHECKSUMS_PLACE)]
    _zero(beton, layout.MANIFEST_PLACE, layout.CHECKSUMS_PLACE)
    first, last = int(parts[0]["offset"][0]), int(parts[1]["offset"][0] + parts[1]["size"][0])
    content[first:last] = 0
    assert open_beton(beton).manifest is None, "zeros are what stock ffcv pads its last page with"
    content[last - 1] = 1
    _refused(beton, "it no longer says where its manifest or checksums are")


def test_file_older_than_the_checksums_note_opens(beton: Path) -> None:
    drop_checksums(beton)
    opened = open_beton(beton)
    assert opened.checksums is None
    assert opened.manifest is not None and not opened.manifest.checksums


def test_gap_of_a_page_is_refused(beton: Path) -> None:
    # Stock ffcv's last page has at least one record; what is longer holds something.
    drop_checksums(beton)
    drop_manifest(beton)
    table_start = int(_header(beton)["alloc_table_ptr"][0])
    content = beton.read_bytes()
    for more, refused in ((2**20, False), (2**21, True)):
        beton.write_bytes(content[:table_start] + bytes(more) + content[table_start:])
        _header(beton)["alloc_table_ptr"] = table_start + more
        if refused:
            _refused(beton, "it no longer says where its manifest or checksums are")
        else:
            assert open_beton(beton).num_samples == 40


def test_overlapping_records_are_refused(beton: Path) -> None:
    drop_checksums(beton)
    samples, table = _samples(beton), _table(beton)
    good = table.copy()
    table["sample_id"][[3, 4]] = table["sample_id"][[4, 3]]
    _refused(beton, "sample 3 has the record of another sample (and 1 more like it)")
    table[:] = good
    jpeg = int(np.argmax(samples["f0"]["mode"] == JPEG.mode))
    table["size"][jpeg] += 1
    _refused(beton, f"sample {jpeg} overlaps the record of another sample")
    table["size"][jpeg] = 2**21
    _refused(beton, f"sample {jpeg} ")
    table[:] = good
    samples["f0"]["data_ptr"][jpeg] = samples["f0"]["data_ptr"][jpeg + 1]
    _refused(beton, f"sample {jpeg} has the record of another sample")


def test_record_across_pages_is_refused(beton: Path) -> None:
    drop_checksums(beton)
    samples, table = _samples(beton), _table(beton)
    jpeg = int(np.flatnonzero(samples["f0"]["mode"] == JPEG.mode)[-1])
    # Only the manifest and the table lie beyond the last record's page, where a file has them in another one.
    samples["f0"]["data_ptr"][jpeg] = table["ptr"][jpeg] = 2**21 - 100
    table["size"][jpeg] = 200
    _refused(beton, f"sample {jpeg} crosses the end of a page")


@pytest.mark.parametrize("page_size", [0, 1, 2**20, 3 * 2**20])
def test_impossible_page_size_is_refused(beton: Path, page_size: int) -> None:
    _header(beton)["page_size"] = page_size
    _refused(beton, "not a .beton file of version 2")


@pytest.mark.parametrize(
    ("label", "what"),
    [
        (2**62, "has a label beyond any class list"),
        (11_796_482, "has the label 11796482, and no image has one of the 11796"),
        (2**15, "has the label 32768, and no image has one of the 327"),
    ],
)
def test_absurd_label_is_refused(beton: Path, label: int, what: str) -> None:
    # Without a manifest the largest label says how many classes there are.
    drop_checksums(beton)
    drop_manifest(beton)
    _samples(beton)["f1"][9] = label
    _refused(beton, f"sample 9 {what}")


def test_sparse_labels_of_a_large_class_list_are_accepted(beton: Path) -> None:
    drop_checksums(beton)
    drop_manifest(beton)
    _samples(beton)["f1"][9] = 21_840
    assert open_beton(beton).num_classes == 21_841


def test_manifest_of_another_file_is_refused(beton: Path, pets: Path, tmp_path: Path) -> None:
    # A file with fewer samples than its manifest lists: dropped by hand from both tables' ends.
    _header(beton)["num_samples"] = 39
    _refused(beton, "its allocation table has 960 bytes, not 24 for each of 39 images")
    os.truncate(beton, beton.stat().st_size - layout.ALLOCATION.itemsize)
    _refused(beton, "its manifest lists 40 images and it holds 39")


def test_pages_in_any_order_open(beton: Path) -> None:
    # Stock ffcv's workers append their allocations one worker after the other.
    before = open_beton(beton)
    table = _table(beton)
    table[:] = table[np.random.default_rng(0).permutation(40)]
    _refused(beton, "its labels, sizes or checksums have changed since it was written")
    drop_checksums(beton)
    np.testing.assert_array_equal(open_beton(beton).sizes, before.sizes)


def test_copy_opens_without_its_source(beton: Path, tmp_path: Path, make_tree: Callable[..., Path]) -> None:
    shutil.rmtree(tmp_path / "pets")
    copy = tmp_path / "copy.beton"
    shutil.copy(beton, copy)
    assert open_beton(copy).manifest == open_beton(beton).manifest
