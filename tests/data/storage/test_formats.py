"""The registry of storage formats: what is refused, what files and options call their formats."""

from pathlib import Path

import numpy as np
import pytest

from engine.config.write import STORAGE_LIMITS, OutputConfig
from engine.data.beton.reader import open_beton
from engine.data.storage import JPEG, RAW, YUV420, formats
from engine.data.storage.raw import RawFormat
from engine.data.storage.storage_format import StorageFormat
from engine.errors import UserError
from tests.data.betons import write_pixels
from tests.data.conftest import photo
from tests.data.storage.registered import gray_registered


def like_raw(**attributes: object) -> StorageFormat:
    """A format that is free to be registered, but for these attributes."""
    free = {"name": "other", "mode": 200, "magic": b"OTHERONE"}
    made: StorageFormat = type("Other", (RawFormat,), free | attributes)()
    return made


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"name": "raw"}, "other and raw|raw and raw"),
        ({"mode": YUV420.mode}, "other and yuv420"),
        ({"magic": YUV420.magic}, "other and yuv420"),
        ({"magic": b"SHORT"}, "must be 8 bytes"),
        ({"magic": b"ENDS IN\0"}, "the last one not 0"),
        ({"magic": b""}, "must be 8 bytes"),
        ({"mode": 256}, "must be 0 to 255"),
        ({"name": "proportion"}, "is no name for it"),
    ],
)
def test_register_refuses_clashes(attributes: dict[str, object], words: str) -> None:
    before = formats.all_formats()
    with pytest.raises(ValueError, match=words):
        formats.register(like_raw(**attributes))
    assert formats.all_formats() == before


def test_option_offers_every_format_and_the_mixture() -> None:
    assert set(STORAGE_LIMITS) == {form.name for form in formats.all_formats()} | {"proportion"}
    assert all(STORAGE_LIMITS[form.name] == form.limited_by for form in formats.all_formats())
    assert set(STORAGE_LIMITS.values()) <= set(OutputConfig.__dataclass_fields__)


def test_unknown_name_lists_the_choices() -> None:
    with pytest.raises(UserError, match=r"'yuv42' is not one of jpeg, raw, .*did you mean 'yuv420'"):
        formats.named("yuv42")
    assert formats.named("proportion") == (JPEG, RAW)
    with pytest.raises(ValueError, match="no storage format has mode 99"):
        formats.of_mode(99)


def test_modes_are_counted_and_described_by_field() -> None:
    modes = np.array([0, 1, 0, 0], np.uint8)
    assert formats.count_modes(modes) == {"jpeg": 3, "raw": 1, "yuv420": 0}
    assert formats.describe_modes(modes) == "3 JPEG, 1 raw"
    assert formats.describe_modes(modes[:1]) == "1 JPEG, 0 raw"
    assert formats.describe_modes(np.full(1234, 2, np.uint8)) == "1,234 YUV 4:2:0"
    assert [formats.storage_name(part) for part in (modes, modes[:1], modes[1:2])] == [
        "proportion",
        "jpeg",
        "raw",
    ]


def test_modules_lists_the_modules_of_all_formats() -> None:
    with gray_registered():
        assert "tests.data.storage.gray_format" in formats.modules()
    assert all(name.startswith("engine.data.storage.") for name in formats.modules())


def test_file_in_an_unregistered_format_is_refused_in_a_line(tmp_path: Path) -> None:
    with gray_registered():
        path = write_pixels(tmp_path, [photo(8, 9, seed) for seed in range(3)], "gray")
        assert open_beton(path).storage == "gray"
    with pytest.raises(UserError) as caught:
        open_beton(path)
    message = str(caught.value)
    assert str(path) in message and "TOYGRAY1" in message and "import the module" in message
    assert "\n" not in message


def test_registering_a_format_changes_no_other_file(tmp_path: Path) -> None:
    pictures = [photo(8, 9, seed) for seed in range(3)]
    without = write_pixels(tmp_path / "without", pictures, "raw").read_bytes()
    with gray_registered():
        assert write_pixels(tmp_path / "with", pictures, "raw").read_bytes() == without
