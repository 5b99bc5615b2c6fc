"""Readers: every registered one reads each image's bytes."""

from pathlib import Path

import pytest

from benchmarks.harness.images.prepared import prepare
from benchmarks.sides import OURS, PEERS

READERS = {**OURS["read"], **PEERS["read"]}


@pytest.mark.parametrize("name", READERS)
def test_reader_reads_all_bytes(name: str, cache: Path) -> None:
    images = prepare(None, READERS[name].storage, 24)
    assert READERS[name].load()(images) == images.bytes
