"""The field `yuv420` for stock ffcv: its Loader reads files of ours with it, its DatasetWriter writes such files.

    loader = ffcv.loader.Loader(
        path,
        custom_fields={"image": Yuv420Field},
        pipelines={"image": [Yuv420RandomResizedCropDecoder((224, 224)), ToTensor()], "label": ...},
        ...
    )

This engine itself does not go this way: nothing else imports this module, since importing ffcv takes seconds.
The decoders lean on ffcv's own, whole image first and then crop and resize, so they are for compatibility and not
for speed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

try:
    from ffcv.fields.base import ARG_TYPE, Field
    from ffcv.fields.rgb_image import CenterCropRGBImageDecoder, get_random_crop
    from ffcv.libffcv import resize_crop
    from ffcv.pipeline.compiler import Compiler
except ModuleNotFoundError as missing:
    if missing.name != "ffcv":
        raise
    raise ImportError("fields for stock ffcv need it: pip install 'imagenet-engine[ffcv]'") from None
from numba.extending import register_jitable
from numpy.typing import NDArray

from engine.data.beton import layout
from engine.data.beton.image_field import custom_arguments, put_arguments
from engine.data.decode.colour import rgb_from_yuv
from engine.data.storage.yuv420 import YUV420, encode_yuv420, fit
from engine.errors import UserError


class Yuv420Field(Field):
    """RGB images stored as YUV 4:2:0. The limits are those of --output.short_side and --output.max_resolution."""

    def __init__(self, short_side: int = 256, max_resolution: int = 0) -> None:
        self.short_side = short_side
        self.max_resolution = max_resolution

    @property
    def metadata_type(self) -> np.dtype[np.void]:
        """One sample's metadata, that of ffcv's RGBImageField."""
        return layout.IMAGE

    @staticmethod
    def from_binary(binary: NDArray[np.uint8]) -> "Yuv420Field":
        """The field that a file's descriptor says. Raises UserError unless it is one of ours that we know."""
        record = custom_arguments(binary)
        if record["magic"] != YUV420.magic or record["version"] != YUV420.version:
            raise UserError("this custom field is not yuv420 in the version this engine reads")
        return Yuv420Field(int(record["short_side"]), int(record["max_resolution"]))

    def to_binary(self) -> np.void:
        """What goes into the file's descriptor."""
        arguments = np.zeros(1, ARG_TYPE)
        put_arguments(arguments["f0"][0], YUV420, self.short_side, self.max_resolution)
        return arguments[0]

    def encode(
        self,
        destination: NDArray[np.void],
        image: Any,
        malloc: Callable[[int], tuple[int, NDArray[np.uint8]]],
    ) -> None:
        """Store an RGB image: a PIL image or uint8 of shape (height, width, 3)."""
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise TypeError(f"an RGB image, uint8, is expected, not {pixels.dtype} of shape {pixels.shape}")
        pixels = fit(pixels, self.short_side, self.max_resolution)
        record = np.frombuffer(encode_yuv420(pixels), np.uint8)
        destination["mode"] = YUV420.mode
        destination["height"], destination["width"] = pixels.shape[:2]
        destination["data_ptr"], storage = malloc(record.nbytes)
        storage[:] = record

    def get_decoder_class(self) -> "type[Yuv420CenterCropDecoder]":
        """What ffcv uses where a pipeline names no decoder."""
        return Yuv420CenterCropDecoder


class Yuv420CenterCropDecoder(CenterCropRGBImageDecoder):
    """RGB, uint8 of shape (*output_size, 3): a centre square of `ratio` times the short side, area-resized."""

    def __init__(self, output_size: tuple[int, int] = (224, 224), ratio: float = 224 / 256) -> None:
        super().__init__(output_size, ratio)

    def generate_code(self) -> Callable[..., Any]:
        """The function that ffcv compiles and calls for each batch."""
        read = self.memory_read
        each = Compiler.get_iterator()
        to_rgb, resize = Compiler.compile(_to_rgb), Compiler.compile(resize_crop)
        choose_crop = Compiler.compile(self.get_crop_generator)
        # numba takes arrays in place of tuples that are only known at run time.
        scale, ratio = (np.array(law) if isinstance(law, tuple) else law for law in (self.scale, self.ratio))

        def decode(batch_indices, buffers, metadata, storage_state):  # type: ignore[no-untyped-def]
            destination, scratch = buffers
            for place in each(len(batch_indices)):
                image = metadata[batch_indices[place]]
                height, width = np.int64(image["height"]), np.int64(image["width"])
                rgb = scratch[place][: height * width * 3].reshape(height, width, 3)
                to_rgb(read(image["data_ptr"], storage_state), rgb)
                top, left, rows, columns = choose_crop(height, width, scale, ratio)
                resize(rgb, top, top + rows, left, left + columns, destination[place])
            return destination[: len(batch_indices)]

        decode.is_parallel = True  # type: ignore[attr-defined]
        return decode


class Yuv420RandomResizedCropDecoder(Yuv420CenterCropDecoder):
    """RGB, uint8 of shape (*output_size, 3): a random crop by ffcv's own generator, area-resized."""

    def __init__(
        self,
        output_size: tuple[int, int] = (224, 224),
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        super().__init__(output_size)
        self.scale, self.ratio = scale, ratio

    @property
    def get_crop_generator(self) -> Callable[..., Any]:
        """Chooses the crop."""
        return get_random_crop


_rgb_from_yuv = register_jitable(rgb_from_yuv)


def _to_rgb(record, rgb):  # type: ignore[no-untyped-def]
    """Each chroma value serves its 2 x 2 pixels."""
    height, width = rgb.shape[:2]
    luma, quarter = height * width, height * width // 4
    for row in range(height):
        for column in range(width):
            y = np.int64(record[row * width + column])
            place = luma + (row // 2) * (width // 2) + column // 2
            u, v = np.int64(record[place]) - 128, np.int64(record[place + quarter]) - 128
            red, green, blue = _rgb_from_yuv(y, u, v)
            rgb[row, column, 0] = min(max(red, 0), 255)
            rgb[row, column, 1] = min(max(green, 0), 255)
            rgb[row, column, 2] = min(max(blue, 0), 255)
