"""JPEGs to RGB on a GPU by NVIDIA's nvImageCodec, which drives nvJPEG and, where the GPU has one, its JPEG engine.

Not run on a GPU yet. Written against the API of the wheels (0.9), whose CPU backend the tests run: it has the same
calls, regions and results, and stands behind `torch.device("cpu")` here for that purpose alone.

The library comes as an extra (`nvjpeg` in pyproject.toml). It is not a judge of damage: of a JPEG with broken data its
CPU backend returns pixels and a line on stderr. The caller lets libjpeg look at each JPEG first
(engine/data/loading/gpu_jpeg.py).
"""

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.devices import is_cuda
from engine.errors import UserError

INSTALL = "pip install 'nvidia-nvimgcodec-cu13[nvjpeg]>=0.9,<1' 'nvidia-nvjpeg>=13.2'"
_ELSE = "or use data.decoder=auto"

# Chroma is enlarged as libjpeg does it. nvJPEG before 13.2 can't do that within a region.
_OPTIONS = ":fancy_upsampling=1"

# No part of the library's own CPU backends, which pass damaged data: what the GPU can't decode, ours does.
_GPU_BACKENDS = ("HW_GPU_ONLY", "GPU_ONLY", "HYBRID_CPU_GPU")
_CPU_BACKENDS = ("CPU_ONLY",)


class RegionDecoder:
    """Decodes regions of JPEGs on `device`, with at most `threads` threads of its own. For one caller at a time.

    Raises UserError where the library, its nvJPEG or a GPU that it can use is missing.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        self._library, self._device = load_library(), device
        on_gpu = is_cuda(device)
        self._stream = torch.cuda.Stream(device) if on_gpu else None
        number = device.index if on_gpu else self._library.NVIMGCODEC_DEVICE_CPU_ONLY
        backends = [
            self._library.Backend(getattr(self._library.BackendKind, kind))
            for kind in (_GPU_BACKENDS if on_gpu else _CPU_BACKENDS)
        ]
        # Turned upright, if at all, by the conversion; stored sides are those of the pixels as they lie.
        self._how = self._library.DecodeParams(apply_exif_orientation=False)
        try:
            self._decoder = self._library.Decoder(
                device_id=number, max_num_cpu_threads=threads, backends=backends, options=_OPTIONS
            )
        except RuntimeError as error:
            raise UserError(
                f"nvImageCodec can't decode on {device}: {_line(error)}; update the GPU's driver, {_ELSE}"
            ) from None

    def decode(
        self, records: Sequence[NDArray[np.uint8]], regions: NDArray[np.int64]
    ) -> list[torch.Tensor | None]:
        """RGB uint8 (bottom - top, right - left, 3) on the device for each JPEG, or None where it can't be decoded.

        `regions` are rows (top, left, bottom, right), int64 (n, 4), inside the images. The tensors belong to the
        decoder's stream: hand them to `join`.
        """
        streams = [self._region(record, region) for record, region in zip(records, regions, strict=True)]
        asked = [row for row, stream in enumerate(streams) if stream is not None]
        out: list[torch.Tensor | None] = [None] * len(streams)
        with self._on_stream():
            found = self._decode([streams[row] for row in asked]) if asked else []
            for row, image in zip(asked, found, strict=True):
                top, left, bottom, right = regions[row].tolist()
                if image is not None and tuple(image.shape) == (bottom - top, right - left, 3):
                    out[row] = self._tensor(image)
        return out

    def join(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """The bytes of images uint8, those of `decode` and others on the host, one after the other, on the device."""
        with self._on_stream():
            parts = [image.to(self._device).reshape(-1) for image in images]
            joined = torch.cat(parts) if parts else torch.empty(0, dtype=torch.uint8, device=self._device)
        if self._stream is not None:
            # Another stream reads it next; and the library takes its images back once they are let go.
            self._stream.synchronize()
        return joined

    def _region(self, record: NDArray[np.uint8], region: NDArray[np.int64]) -> object | None:
        try:
            stream = self._library.CodeStream(record)
            return stream.get_sub_code_stream(region=self._library.Region(*region.tolist()))
        except RuntimeError:
            # Its header can't be read.
            return None

    def _decode(self, streams: list[object | None]) -> list[Any]:
        number = self._stream.cuda_stream if self._stream is not None else 0
        try:
            return list(self._decoder.decode(streams, params=self._how, cuda_stream=number))
        except RuntimeError as error:
            raise UserError(f"nvImageCodec failed on {self._device}: {_line(error)}; {_ELSE}") from None

    def _tensor(self, image: Any) -> torch.Tensor:
        if self._stream is None:
            return torch.from_numpy(np.array(image))
        # By its __cuda_array_interface__: that tensor keeps the image. One by DLPack did not in earlier versions, and
        # the memory went with the image. Both are of this stream, so nothing has to wait.
        return torch.as_tensor(image, device=self._device)

    def _on_stream(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)


@cache
def load_library() -> ModuleType:
    """nvidia.nvimgcodec. Raises UserError where it or nvJPEG is not installed."""
    # 0: it logs nothing. A sample that it can't decode is None in its results, and named by us.
    os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
    with _captured_stderr() as said:
        try:
            library = importlib.import_module("nvidia.nvimgcodec")
        except ImportError as error:
            missing = isinstance(error, ModuleNotFoundError)
            why = "is not installed" if missing else f"does not load ({_line(error)})"
            raise UserError(f"data.decoder=gpu needs nvImageCodec, which {why}: {INSTALL}, {_ELSE}") from None
    # It says so and goes on without; of codecs for other formats, too, which nobody here needs.
    if any("Failed to load nvjpeg library" in line for line in said):
        raise UserError(f"data.decoder=gpu needs nvJPEG, which nvImageCodec can't find: {INSTALL}, {_ELSE}")
    return library


@contextlib.contextmanager
def _captured_stderr() -> Iterator[list[str]]:
    """Collects the lines that libraries in C write to stderr within the block; none where stderr is closed."""
    lines: list[str] = []
    try:
        before = os.dup(2)
    except OSError:
        yield lines
        return
    if sys.stderr:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            lines += file.read().decode("utf-8", "replace").splitlines()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
