"""Repeated images: separate records in the source's order."""

from collections import Counter
from pathlib import Path

from benchmarks.harness.images.prepared import prepare
from engine.data.beton.reader import open_beton


def test_repeated_images_are_separate_records(folder: Path, cache: Path) -> None:
    once, often = prepare(folder, "raw"), prepare(folder, "raw", 25)
    assert (once.num_samples, often.num_samples) == (10, 25)
    assert often.identity.startswith("photos: 10 images repeated to 25, raw, ")
    beton = open_beton(often.beton)
    assert len(set(beton.images["data_ptr"].tolist())) == 25
    memory = beton.memory()
    records = Counter(
        memory[start : start + size].tobytes()
        for start, size in zip(beton.images["data_ptr"].tolist(), beton.sizes.tolist(), strict=True)
    )
    # 25 of 10: five of them three times, the others twice.
    assert sorted(records.values()) == [2] * 5 + [3] * 5
    assert often.bytes == sum(len(record) * times for record, times in records.items())


def test_repeated_images_keep_the_source_order(folder: Path, cache: Path) -> None:
    for storage in ("jpeg", "raw", "yuv420"):
        once, often = (open_beton(prepare(folder, storage, count).beton) for count in (None, 25))
        for field in ("width", "height", "mode"):
            assert often.images[field].tolist() == (once.images[field].tolist() * 3)[:25]
        assert often.labels.tolist() == (once.labels.tolist() * 3)[:25]
        assert once.checksums is not None and often.checksums is not None
        assert often.checksums.tolist() == (once.checksums.tolist() * 3)[:25]
