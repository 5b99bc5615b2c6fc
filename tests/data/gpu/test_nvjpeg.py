"""nvImageCodec as it is called: its signatures, its CPU backend's regions beside Pillow's, and where it is missing."""

import contextlib
import importlib
import io
import os
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from engine.data.gpu import nvjpeg
from engine.data.gpu.nvjpeg import RegionDecoder, load_library
from engine.errors import UserError
from tests.data.conftest import photo
from tests.data.nvimgcodec import needs_nvimgcodec

CPU = torch.device("cpu")

# The first two as they are asked for: whole blocks of the image.
REGIONS = np.array([[0, 0, 93, 130], [16, 32, 64, 130], [17, 33, 54, 77], [0, 1, 1, 2]])


def jpeg(image: Image.Image, **settings: Any) -> NDArray[np.uint8]:
    file = io.BytesIO()
    image.save(file, "JPEG", **settings)
    return np.frombuffer(file.getvalue(), np.uint8)


def decode(*records: NDArray[np.uint8], region: tuple[int, int, int, int]) -> list[NDArray[np.uint8] | None]:
    found = RegionDecoder(CPU, 1).decode(records, np.array([region] * len(records)))
    return [None if image is None else image.numpy() for image in found]


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(photo(93, 130, 4))


# With the library


@needs_nvimgcodec
def test_library_has_the_calls_that_are_made() -> None:
    library = load_library()
    calls = (
        (library.Decoder.__init__, ("device_id:", "max_num_cpu_threads:", "backends:", "options: str")),
        (library.Decoder.decode, ("params:", "cuda_stream:", "There is None in returned list")),
        (library.DecodeParams.__init__, ("apply_exif_orientation: bool",)),
        (library.Region.__init__, ("start_y:", "start_x:", "end_y:", "end_x:")),
        (library.CodeStream.__init__, ("array: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8]",)),
        (library.CodeStream.get_sub_code_stream, ("region:",)),
    )
    for call, words in calls:
        missing = [word for word in words if word not in str(call.__doc__)]
        assert not missing, f"{call}: {missing}"
    kinds = (*nvjpeg._GPU_BACKENDS, *nvjpeg._CPU_BACKENDS)
    assert all(hasattr(library.BackendKind, kind) for kind in kinds)
    assert hasattr(library.Image, "__cuda_array_interface__")
    assert library.NVIMGCODEC_DEVICE_CPU_ONLY < 0


@needs_nvimgcodec
@pytest.mark.parametrize("kind", ["420", "422", "444", "progressive", "gray"])
def test_regions_are_those_of_pillow(picture: Image.Image, kind: str) -> None:
    settings: dict[str, Any] = {"progressive": True} if kind == "progressive" else {}
    if kind[0] == "4":
        settings["subsampling"] = f"{kind[0]}:{kind[1]}:{kind[2]}"
    record = jpeg(picture.convert("L") if kind == "gray" else picture, **settings)
    whole = np.asarray(Image.open(io.BytesIO(record.tobytes())).convert("RGB")).astype(int)
    for top, left, bottom, right in REGIONS.tolist():
        (found,) = decode(record, region=(top, left, bottom, right))
        assert found is not None and found.dtype == np.uint8
        assert np.abs(found - whole[top:bottom, left:right]).max() <= 1


@needs_nvimgcodec
def test_exif_orientation_turns_nothing(picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright, turned = decode(jpeg(picture), jpeg(picture, exif=exif), region=(0, 0, 93, 130))
    assert upright is not None and turned is not None
    np.testing.assert_array_equal(upright, turned)


@needs_nvimgcodec
def test_what_cannot_be_decoded_is_none(picture: Image.Image, capfd: pytest.CaptureFixture[str]) -> None:
    record = jpeg(picture)
    no_image, cut = np.zeros(100, np.uint8), record[: len(record) // 2]
    found = decode(no_image, record, cut, record[:100], region=(0, 0, 48, 130))
    assert [image is None for image in found] == [True, False, True, True]
    # A region that reaches beyond the image is none of its.
    assert decode(record, region=(0, 0, 96, 130)) == [None]
    assert "nvimgcodec" not in capfd.readouterr().err
    assert RegionDecoder(CPU, 1).decode([], np.empty((0, 4), np.int64)) == []


@needs_nvimgcodec
def test_join_lays_images_one_after_the_other(picture: Image.Image) -> None:
    decoder = RegionDecoder(CPU, 1)
    (image,) = decoder.decode([jpeg(picture)], np.array([[0, 0, 16, 16]]))
    assert image is not None
    joined = decoder.join([image, torch.full((2, 3), 7, dtype=torch.uint8)])
    assert torch.equal(joined[: 16 * 16 * 3], image.reshape(-1)) and joined[-6:].tolist() == [7] * 6
    assert decoder.join([]).shape == (0,)


@needs_nvimgcodec
def test_gpu_is_asked_by_its_number_stream_and_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged data must not fall through to the library's own CPU decoders, which pass it."""
    asked: list[dict[str, Any]] = []

    class Asked:
        def __init__(self, **how: Any) -> None:
            asked.append(how)

        def decode(self, streams: list[Any], **how: Any) -> list[None]:
            asked.append(how)
            return [None] * len(streams)

    class Stream(contextlib.nullcontext[None]):
        cuda_stream = 1234

    monkeypatch.setattr(load_library(), "Decoder", Asked)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    decoder = RegionDecoder(torch.device("cuda", 3), 5)
    assert decoder.decode([jpeg(Image.new("RGB", (16, 16)))], np.array([[0, 0, 16, 16]])) == [None]
    made, decoded = asked
    assert made["device_id"] == 3 and made["max_num_cpu_threads"] == 5
    assert {one.backend_kind.name for one in made["backends"]} == {
        "HW_GPU_ONLY",
        "GPU_ONLY",
        "HYBRID_CPU_GPU",
    }
    assert decoded["cuda_stream"] == 1234 and not decoded["params"].apply_exif_orientation


# Without it


@pytest.fixture
def forgotten() -> Any:
    """The library has not been loaded, and is not after the test."""
    load_library.cache_clear()
    yield
    load_library.cache_clear()


def test_missing_library_is_told_with_its_command(forgotten: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(
        UserError, match=r"needs nvImageCodec, which is not installed: pip install 'nvidia-nvim"
    ):
        RegionDecoder(CPU, 1)


def test_missing_nvjpeg_is_told_and_nothing_else(
    forgotten: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said = [b"Failed to load nvtiff library! Please install ..."]

    def load(name: str) -> ModuleType:
        os.write(2, b"\n".join(said) + b"\n")
        return ModuleType(name)

    monkeypatch.setattr(importlib, "import_module", load)
    assert load_library().__name__ == "nvidia.nvimgcodec"
    load_library.cache_clear()
    with monkeypatch.context() as closed:
        closed.setattr(os, "dup", lambda descriptor: os.close(-1))
        assert load_library().__name__ == "nvidia.nvimgcodec"
    load_library.cache_clear()
    capfd.readouterr()
    said.append(b"Failed to load nvjpeg library! Please install CUDA toolkit or ...")
    with pytest.raises(UserError, match=r"needs nvJPEG, which nvImageCodec can't find: pip install"):
        load_library()
    assert capfd.readouterr().err == ""


def test_install_command_is_the_extra_of_pyproject(repository: Any) -> None:
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    wanted = nvjpeg.INSTALL.removeprefix("pip install ").replace("'", '"').split()
    assert f"nvjpeg = [{', '.join(wanted)}]" in text
