"""Building the C decoders: what is built, what is said where it can't be, and what is loaded."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.cli.build import main
from engine.data.beton.reader import Storage, open_beton
from engine.data.native import compile as building
from engine.data.native import library as native
from engine.data.native.compile import build, library_path
from engine.data.native.library import Library
from engine.data.sampling.crops import CenterCrop
from engine.errors import UserError
from tests.data.betons import write_pixels
from tests.data.conftest import photo
from tests.data.decode.decoding import decode_boxes, jpeg_record, random_boxes, raw_record
from tests.data.decode.pooling import pixels

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler here"
)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the C sources, not built, which the functions of this process take for theirs."""
    copy = tmp_path / "native"
    shutil.copytree(building.FOLDER, copy, ignore=shutil.ignore_patterns("*.so", "__pycache__", ".build-*"))
    monkeypatch.setattr(building, "FOLDER", copy)
    return copy


def _load_anew() -> Library | None:
    return native.library.__wrapped__()


@needs_compiler
def test_built_library_is_loaded_and_decodes(
    sources: Path, c_library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _load_anew() is None
    old = sources / library_path().name.replace(library_path().stem[-12:], "0123456789ab")
    old.touch()
    assert main([]) == 0
    assert capsys.readouterr().out == f"built {library_path().name}\n"
    # Nothing is left of the building, and nothing of older sources.
    assert {path.name for path in sources.iterdir()} - {path.name for path in sources.glob("*.[chp]*")} == {
        library_path().name
    }
    fresh = _load_anew()
    assert fresh is not None and fresh.has_jpeg
    record, boxes = jpeg_record(photo(50, 70)), random_boxes(50, 70, 10)
    np.testing.assert_array_equal(
        decode_boxes(record, boxes, 24, fresh)[0], decode_boxes(record, boxes, 24, c_library)[0]
    )


@needs_compiler
def test_without_libjpeg_headers_only_jpegs_go_to_numba(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PKG_CONFIG_LIBDIR", str(tmp_path))
    monkeypatch.setenv("PKG_CONFIG_PATH", str(tmp_path))
    assert main([]) == 0
    assert (
        capsys.readouterr()
        .out.rstrip()
        .endswith("without JPEG: install libjpeg-turbo's headers (libjpeg-dev)")
    )
    partly = _load_anew()
    assert partly is not None and not partly.has_jpeg
    boxes = random_boxes(50, 70, 10)
    for record in (jpeg_record(photo(50, 70)), raw_record(photo(50, 70))):
        ours, in_numba = (decode_boxes(record, boxes, 24, library)[0] for library in (partly, None))
        np.testing.assert_array_equal(ours, in_numba)


@needs_compiler
def test_library_of_other_sources_is_not_loaded(sources: Path) -> None:
    built = build()
    assert _load_anew() is not None
    with (sources / "resize.c").open("a") as file:
        file.write("/* changed */\n")
    assert library_path() != built
    assert _load_anew() is None


@needs_compiler
def test_compiler_error_is_quoted_in_a_line(sources: Path) -> None:
    with (sources / "decode.c").open("a") as file:
        file.write("this is no C\n")
    with pytest.raises(UserError, match=r"failed: .*decode\.c.*error") as caught:
        build()
    assert "\n" not in str(caught.value)
    assert not list(sources.glob("*.so")) and not list(sources.glob(".build-*"))


def test_broken_library_is_none(sources: Path) -> None:
    library_path().write_bytes(b"not a library")
    assert _load_anew() is None


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    """A copy of the engine, not built."""
    ignored = shutil.ignore_patterns("*.so", "__pycache__", ".build-*")
    shutil.copytree(repository / "engine", tmp_path / "engine", ignore=ignored)
    return tmp_path


def _run(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"CC": "/nonexistent/cc"}, "the C compiler /nonexistent/cc can't be run"),
        ({"CC": "", "PATH": "/nonexistent"}, "no C compiler: install gcc"),
        ({"CC": "false"}, "false failed"),
    ],
)
def test_missing_compiler_is_one_line(checkout: Path, environment: dict[str, str], words: str) -> None:
    done = _run(checkout, "-m", "engine", "build", **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {words}") and done.stderr.count("\n") == 1
    assert not list((checkout / "engine/data/native").glob("*.so"))


_DECODE = """
import sys
import numpy as np
from engine.data.beton.reader import open_beton
from engine.data.sampling.crops import CenterCrop
from engine.data.native.library import describe
from engine.data.loading.decode_pool import DecodePool
assert describe() == ""
for path in sys.argv[1:]:
    pool, out = DecodePool(open_beton(path), 2), np.empty((4, 16, 16, 3), np.uint8)
    assert pool.decode(np.arange(4), CenterCrop(ratio=0.8), out) == []
    print(out.tobytes().hex())
    pool.close()
assert "torch" not in sys.modules and "ffcv" not in sys.modules
"""


@pytest.mark.slow
def test_unbuilt_engine_decodes_the_same_pixels(checkout: Path, tmp_path: Path) -> None:
    pictures = [photo(40, 50, seed) for seed in range(4)]
    storages: tuple[Storage, ...] = ("jpeg", "raw", "yuv420")
    files = [write_pixels(tmp_path / storage, pictures, storage) for storage in storages]
    done = _run(checkout, "-c", _DECODE, *map(str, files))
    assert done.returncode == 0, done.stderr
    for path, line in zip(files, done.stdout.split(), strict=True):
        assert line == pixels(open_beton(path), range(4), CenterCrop(ratio=0.8), 16).tobytes().hex()


@pytest.mark.parametrize("jpeg", [True, False])
def test_macos_finds_homebrews_libjpeg_and_may_lack_it(
    sources: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jpeg: bool
) -> None:
    """The commands: there is no Mac here."""
    bin, folder = tmp_path / "bin", "/opt/homebrew/opt/jpeg-turbo/lib/pkgconfig"
    bin.mkdir()
    known = "echo -ljpeg" if jpeg else "exit 1"
    compiles = 'for word; do [ "$before" = -o ] && : >"$word"; before=$word; done; exit 0'
    for name, script in (
        ("pkg-config", f'case "$PKG_CONFIG_PATH" in *{folder}*) {known};; *) exit 2;; esac'),
        ("cc", f'echo "$*" >>{tmp_path}/called; {compiles}'),
    ):
        (bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (bin / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(bin))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    build()
    linked = (tmp_path / "called").read_text().splitlines()[-1]
    assert ("-undefined,dynamic_lookup" in linked) is not jpeg
    assert ("-ljpeg" in linked) is jpeg and ("transcode.c" in linked) is jpeg
