"""Thousands of damaged files through the loader: no crash, no hang, no other pixels or labels than were written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.data.beton.reader import Storage
from tests.data.betons import drop_checksums, drop_manifest, write_pixels
from tests.data.conftest import photo

ROOT = Path(__file__).parents[3]

_STORAGES: tuple[Storage, ...] = ("proportion", "raw", "yuv420")
_TIMEOUT_SECONDS = 300


@pytest.mark.slow
@pytest.mark.parametrize(("bare", "examples"), [(False, 600), (True, 300)], ids=["ours", "like stock ffcv's"])
def test_damaged_file_is_refused_or_gives_only_written_pixels(
    tmp_path: Path, bare: bool, examples: int
) -> None:
    pictures = [photo(12 + seed, 20, seed) for seed in range(8)]
    paths = [write_pixels(tmp_path / storage, pictures, storage) for storage in _STORAGES]
    if bare:
        for path in paths:
            drop_checksums(path)
            drop_manifest(path)
    findings = tmp_path / "findings.json"
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.data.fuzz_loader"]
    done = subprocess.run(
        [*command, findings, str(examples), *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for line in findings.read_text().splitlines():
        found = json.loads(line)
        assert found["wrong"] == []
        # Each way out has been taken, or nothing was shown.
        outcomes = found["outcomes"]
        assert outcomes["refused"] > examples / 3
        assert outcomes["all delivered"] > examples / 50
        assert bare or outcomes["some left out"] > examples / 150
