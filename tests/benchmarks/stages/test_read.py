"""The read stage: page cache states and wrong bytes."""

from pathlib import Path

import pytest

from benchmarks.harness.images import file_cache
from benchmarks.harness.images.prepared import Images, prepare
from benchmarks.sides import Side, our_side
from benchmarks.stages import read as read_stage
from benchmarks.stages.read import main
from engine.errors import UserError
from tests.benchmarks import record_checks


def test_warm_and_cold_cache_are_recorded(cache: Path, tmp_path: Path) -> None:
    try:
        code = main(
            ["--images=24", "--against=single-files", "--ours=mapped", f"--json={tmp_path}/read.json"]
        )
    except UserError as error:
        assert "stays in memory" in str(error)
        pytest.skip(f"the temporary folder is in memory: {error}")
    found = record_checks.read(tmp_path / "read.json")
    assert [record["cache"] for record in found] == ["warm", "cold"]
    if all("stays in memory" in str(record.get("failed")) for record in found[1:]):
        pytest.skip("the temporary folder is in memory")
    assert code == 0
    for record in found:
        record_checks.check(record)
        assert record["ours_bytes_per_second"] > 0
        assert "one JPEG file each" in record["peer_data"]


def test_page_cache_is_set_before_each_reading(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    images = prepare(None, "files", 24)

    def note(given: Images) -> int:
        shares.extend(file_cache.resident_share(path) for path in given.files)
        return given.bytes

    try:
        for cache_state in ("warm", "cold"):
            read_stage._seconds(note, cache_state, images)
    except UserError as error:
        pytest.skip(f"the temporary folder is in memory: {error}")
    assert len(shares) == 48
    assert min(shares[:24]) == 1 and max(shares[24:]) == 0


def test_wrong_number_of_bytes_is_a_failed_record(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {storage: prepare(None, storage, 24) for storage in ("jpeg-kept", "files")}
    (tmp_path / "less_reader.py").write_text("def less(images):\n    return images.bytes - 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    less = Side(entry="less_reader:less", storage="files")
    record = read_stage._measure([our_side("read", "mapped"), less], "warm", images, 5)
    size = images["files"].bytes
    assert record["failed"] == record["error"] == f"{size - 1} bytes of images were read, not {size}"


def test_unknown_peer_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="no peer 'single-file'"):
        main(["--against=single-file"])
