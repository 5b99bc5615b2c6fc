"""`python -m engine verify`: sound files, each kind of damage with its place, and files without checksums."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli.verify import main
from engine.data.beton.bulk_reader import _STRETCH
from engine.data.beton.reader import Beton, Storage, open_beton
from engine.data.edit.verify import verify
from engine.data.storage.formats import all_formats
from engine.errors import UserError
from tests.data import failing_disk
from tests.data.betons import drop_checksums, drop_manifest, overwrite, record, write_pixels
from tests.data.conftest import photo

COUNT = 40
STORAGES = tuple(form.name for form in all_formats())


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of 40 images in each storage."""
    pictures = [photo(40 + seed, 60, seed) for seed in range(COUNT)]
    modes: tuple[Storage, ...] = STORAGES
    return {mode: write_pixels(tmp_path_factory.mktemp(mode), pictures, mode) for mode in modes}


@pytest.fixture
def copy_of(good: dict[str, Path], tmp_path: Path) -> Iterator[object]:
    def copy(mode: str, bare: bool = False) -> Beton:
        path = Path(shutil.copy(good[mode], tmp_path / f"{mode}.beton"))
        if bare:
            drop_checksums(path)
            drop_manifest(path)
        return open_beton(path)

    yield copy


def flip(beton: Beton, sample: int, offset: int) -> None:
    """Change one bit of a record on disk."""
    overwrite(beton, sample, bytes([record(beton, sample)[offset] ^ 1]), offset)


@pytest.mark.parametrize("mode", STORAGES)
def test_sound_file_passes_and_flipped_bit_fails(copy_of, mode: str, capsys) -> None:  # type: ignore[no-untyped-def]
    beton = copy_of(mode)
    assert main([str(beton.path)]) == 0
    assert (
        f"{beton.path}: sound; each of {COUNT} images compared with its checksum" in capsys.readouterr().out
    )
    # The first and the last byte of all, and one amid.
    places = {0: 0, 17: 33, COUNT - 1: int(beton.sizes[-1]) - 1}
    for sample, offset in places.items():
        flip(beton, sample, offset)
    found = verify(beton)
    assert [bad.sample for bad in found.bad] == list(places)
    assert main([str(beton.path)]) == 1
    said = capsys.readouterr().out
    assert f"BAD {beton.path}: 3 of {COUNT} images are bad" in said
    assert beton.manifest is not None
    start = int(beton.images["data_ptr"][17])
    line = f"  sample 17 ({beton.manifest.ids[17]}), bytes {start} to {start + int(beton.sizes[17]) - 1}: "
    assert line + "its bytes have changed since they were written (wrong checksum)\n" in said


def test_all_files_are_verified_after_a_bad_first_one(copy_of, capsys) -> None:  # type: ignore[no-untyped-def]
    cut, sound = copy_of("raw"), copy_of("jpeg")
    os.truncate(cut.path, cut.path.stat().st_size - 1)
    assert main([str(cut.path), str(sound.path)]) == 1
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first.startswith(f"BAD {cut.path} was cut short") and f"{sound.path}: sound" in second


def test_progress_lines_show_images_bytes_and_time_left(copy_of, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("engine.progress.LOG_SECONDS", 0)
    assert main([str(copy_of("raw").path)]) == 0
    said = capsys.readouterr().err
    assert f"raw.beton: {COUNT} of {COUNT} images, " in said
    assert " read (" in said and "/s), 0 s left" in said and "written" not in said


def test_quick_reads_no_image(copy_of, capsys) -> None:  # type: ignore[no-untyped-def]
    beton = copy_of("raw")
    flip(beton, 3, 0)
    assert main(["--quick", str(beton.path)]) == 0
    assert "none was read (--quick)" in capsys.readouterr().out
    os.truncate(beton.path, 5000)
    assert main(["--quick", str(beton.path)]) == 1


def test_list_of_bad_images_is_cut_unless_all_is_given(copy_of, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    beton = copy_of("raw")
    for sample in range(COUNT):
        flip(beton, sample, 5)
    monkeypatch.setattr("engine.cli.verify._SHOWN", 30)
    assert main([str(beton.path)]) == 1
    said = capsys.readouterr().out
    assert said.count("  sample ") == 30 and "  and 10 more (--all names them)" in said
    assert main(["--all", str(beton.path)]) == 1
    said = capsys.readouterr().out
    assert said.count("  sample ") == COUNT and "more" not in said


def test_jpegs_without_checksums_are_decoded(copy_of, capsys) -> None:  # type: ignore[no-untyped-def]
    beton = copy_of("jpeg", bare=True)
    assert main([str(beton.path)]) == 0
    assert "no checksums in this file: its JPEGs were decoded instead" in capsys.readouterr().out
    middle = int(beton.sizes[4]) // 2
    overwrite(beton, 4, b"\xff\xd9" + bytes(100), middle)
    overwrite(beton, 9, b"no JPEG at all")
    assert main([str(beton.path)]) == 1
    said = capsys.readouterr().out
    assert [bad.sample for bad in verify(beton).bad] == [4, 9]
    assert said.count("its JPEG data is damaged (") == 2
    assert "  sample 4, bytes " in said


def test_raw_images_without_checksums_are_reported_unchecked(copy_of, capsys) -> None:  # type: ignore[no-untyped-def]
    beton = copy_of("yuv420", bare=True)
    assert main([str(beton.path)]) == 0
    assert f"and {COUNT} images without checksum that decoding can't check at all" in capsys.readouterr().out
    assert verify(beton).unchecked == COUNT


def test_gaps_at_page_ends_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Pages of 2 MiB hold two images of 720 kB each.
    path = write_pixels(tmp_path, [photo(500, 480, seed) for seed in range(3)])
    found = verify(open_beton(path))
    assert (found.bytes, found.gaps) == (3 * 720_000, 2**21 - 2 * 720_000)
    assert main([str(path)]) == 0
    assert "657.2 kB between the records: padding" in capsys.readouterr().out


def test_missing_path_is_refused_before_any_reading(copy_of, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    sound = copy_of("raw")
    for path, words in ((tmp_path / "none.beton", "does not exist"), (tmp_path, "is not a file")):
        with pytest.raises(UserError, match=words):
            main([str(sound.path), str(path)])
    assert capsys.readouterr().out == ""


def test_exit_code_is_0_sound_1_bad_2_missing(copy_of, tmp_path: Path, repository: Path) -> None:  # type: ignore[no-untyped-def]
    def run(path: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "engine", "verify", str(path)]
        return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)

    beton = copy_of("raw")
    assert run(beton.path).returncode == 0
    flip(beton, 0, 0)
    done = run(beton.path)
    assert done.returncode == 1 and done.stderr == ""
    done = run(tmp_path / "none.beton")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_failing_disk_names_the_unreadable_images(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    whole = open_beton(write_pixels(tmp_path, [photo(200, 333, seed) for seed in range(COUNT)], "raw"))
    bad = int(whole.images["data_ptr"][30]) + 2**16
    assert int(whole.sizes.sum()) > _STRETCH, "there are stretches without damage, too"
    folder = tmp_path / "disk"
    folder.mkdir()
    server = subprocess.Popen(
        [sys.executable, failing_disk.__file__, str(whole.path), str(folder), str(bad)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout and server.stderr
    if server.stdout.readline() != "mounted\n":
        pytest.skip(f"a file system of our own is not possible here: {server.communicate()[1].strip()}")
    try:
        assert main([str(folder / "file")]) == 1
        said = capsys.readouterr().out
        # The system reads in pages of its own: a neighbour may be hit as well.
        assert "sample 30 " in said and said.count("the disk fails to read it") in (1, 2, 3)
        assert "wrong checksum" not in said
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        server.wait(timeout=30)
        server.stdout.close()
        server.stderr.close()
