"""The read stage: each way reads every image's bytes once, from where it says."""

from pathlib import Path

import pytest

from benchmarks.stages import read as bench_read
from benchmarks.harness.images import file_cache as page_cache
from benchmarks.sides import readers
from benchmarks.stages.read import main
from benchmarks.harness.images.prepared import Images, prepare
from engine.errors import UserError
from tests.benchmarks import records


@pytest.mark.parametrize("name", [*readers.OURS, *readers.PEERS])
def test_every_way_reads_all_bytes(name: str, cache: Path) -> None:
    read, storage = {**readers.OURS, **readers.PEERS}[name]
    images = prepare(None, storage, 24)
    assert read(images) == images.bytes


def test_it_is_recorded_for_a_warm_and_a_cold_cache(cache: Path, tmp_path: Path) -> None:
    try:
        code = main(
            ["--images=24", "--against=single-files", "--ours=mapped", f"--json={tmp_path}/read.json"]
        )
    except UserError as error:
        assert "stays in memory" in str(error)
        pytest.skip(f"the temporary folder is in memory: {error}")
    found = records.read(tmp_path / "read.json")
    assert [record["cache"] for record in found] == ["warm", "cold"]
    if all("stays in memory" in str(record.get("failed")) for record in found[1:]):
        pytest.skip("the temporary folder is in memory")
    assert code == 0
    for record in found:
        records.check(record)
        assert record["ours_bytes_per_second"] > 0
        assert "one JPEG file each" in record["peer_data"]


def test_the_cache_is_set_before_each_reading(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    images = prepare(None, "files", 24)

    def note(given: Images) -> int:
        shares.extend(page_cache.resident_share(path) for path in given.files)
        return given.bytes

    try:
        for cache_state in ("warm", "cold"):
            bench_read._seconds(note, "files", cache_state, images)
    except UserError as error:
        pytest.skip(f"the temporary folder is in memory: {error}")
    assert len(shares) == 48
    assert min(shares[:24]) == 1 and max(shares[24:]) == 0


def test_other_bytes_than_the_images_are_a_failed_record(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {storage: prepare(None, storage, 24) for storage in ("jpeg-kept", "files")}
    less = (lambda given: given.bytes - 1, "files")
    record = bench_read._measure(readers.OURS["mapped"], less, "warm", images, 5)
    size = images["files"].bytes
    assert record["failed"] == record["error"] == f"{size - 1} bytes of images were read, not {size}"


def test_an_unknown_way_is_one_line() -> None:
    with pytest.raises(UserError, match="no peer 'single-file'"):
        main(["--against=single-file"])
