"""Records' checksums: the CRC-32 everyone knows, from either library, and written for every record."""

import importlib
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton import checksum
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from tests.data.betons import record

_CONTENTS = [b"", b"\0", b"123456789", np.random.default_rng(0).bytes(130_001)]


@pytest.fixture(params=["isal", "zlib"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The module as it is with and without the package; afterwards as it was."""
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
        monkeypatch.delitem(sys.modules, "isal.isal_zlib", raising=False)
    else:
        pytest.importorskip("isal")
    importlib.reload(checksum)
    request.addfinalizer(lambda: importlib.reload(checksum))
    return str(request.param)


def test_checksum_equals_zips_crc32(library: str) -> None:
    assert library in vars(checksum)["_crc32"].__module__
    assert checksum.crc32(b"123456789") == 0xCBF43926, "the check value of the CRC catalogues"
    for content in _CONTENTS:
        expected = zlib.crc32(content)
        assert checksum.crc32(content) == expected
        assert checksum.crc32(memoryview(content)) == expected
        assert checksum.crc32(np.frombuffer(content, np.uint8)) == expected
        assert checksum.crc32(content[7:], checksum.crc32(content[:7])) == expected


@pytest.mark.parametrize("mode", ["jpeg", "raw", "proportion", "yuv420"])
def test_every_record_has_its_checksum(pets: Path, tmp_path: Path, mode: str) -> None:
    output = OutputConfig(folder=str(tmp_path / "out"), format=mode, num_workers=1, page_size=2)
    for path in convert(WriteConfig(source=SourceConfig(path=str(pets)), output=output)).values():
        beton = open_beton(path)
        assert beton.checksums is not None
        assert beton.checksums.dtype == np.uint32
        assert beton.checksums.shape == (beton.num_samples,)
        assert not beton.checksums.flags.writeable
        expected = [zlib.crc32(record(beton, sample)) for sample in range(beton.num_samples)]
        assert beton.checksums.tolist() == expected
