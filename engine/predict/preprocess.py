"""From an image of any kind to the network's input, with the code that made and reads the validation file.

Odd images (gray, CMYK, with alpha, 16 bits, turned by EXIF, damaged) follow the conversion's rules
(engine.data.convert.image_checks). A JPEG is decoded, cropped and resized by the decoders of validation, so the pixels
equal those of validation to the bit where the file holds the JPEG unchanged. A conversion that shrank the image, or
stored it as yuv420, has changed a level or so.
"""

import threading

import numpy as np
import torch
from numpy.typing import NDArray

from engine.config.write import RulesConfig
from engine.data.convert.image_checks import Look, look_at
from engine.data.decode.batch import OK, UNKNOWN_MODE, DecodeBatch
from engine.data.decode.pillow_pixels import DamagedError, decode_rgb, gray_as_rgb
from engine.data.decode.workspace import Workspace
from engine.data.loading.delivery import Normalisation
from engine.data.native.library import library
from engine.data.sampling.crops import ResizeThenCrop, centre_crop
from engine.data.sources.base import Content
from engine.data.storage.jpeg import JPEG
from engine.data.storage.jpeg_header import without_metadata
from engine.data.storage.jpeg_transcode import verify
from engine.data.storage.raw import RAW
from engine.data.storage.storage_format import StorageFormat
from engine.errors import UserError
from engine.predict.image_source import content_of, name_of
from engine.runs.model_card import Preprocessing

_EOI = b"\xff\xd9"


class Preprocessor:
    """Makes the input of a network that expects `asked`. `image` may be called by several threads."""

    def __init__(self, asked: Preprocessing, device: torch.device | str = "cpu") -> None:
        self.asked = asked
        self.rules = RulesConfig(exif=asked.exif or RulesConfig.exif)
        self._crop = centre_crop(asked.crop_law, asked.resolution, asked.ratio)
        self._local = threading.local()
        self._device = torch.device(device)
        mean, std = ([255 * value for value in levels] for levels in (asked.mean, asked.std))
        self._normalisation = Normalisation(self._device, torch.float32, True, mean=mean, std=std)

    def image(self, source: object) -> NDArray[np.uint8]:
        """RGB (resolution, resolution, 3) of a path, a URL, bytes, a Pillow image or an array (image_source.py).

        Raises UserError, one line without the image's name, for an image that can't be read or decoded whole.
        """
        content = content_of(source)
        look = look_at(content, name_of(source), self.rules)
        rejected = look.rejected(self.rules)
        if rejected:
            raise UserError(look.odd[rejected])
        try:
            return self._decode(content, look)
        except ValueError as error:
            raise UserError(str(error)) from None

    def normalise(self, batch: NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        """Levels (n, resolution, resolution, 3), uint8, as the network's input on the device: float32 (n, 3, ...)."""
        pixels = torch.from_numpy(batch) if isinstance(batch, np.ndarray) else batch
        return self._normalisation.of(pixels.to(self._device))

    def _decode(self, content: Content, look: Look) -> NDArray[np.uint8]:
        """Raises DamagedError, or another ValueError, for damage."""
        turned = self.rules.exif == "apply" and look.rotation != 1
        if isinstance(content, bytes) and look.jpeg is not None:
            jpeg = without_metadata(content, look.jpeg)
            # A crop of a file that is cut short may decode whole.
            if jpeg.rfind(_EOI, len(look.jpeg.segments)) < 0:
                raise DamagedError("it is cut short: it lacks the end of the image")
            if not turned and look.jpeg.components in (1, 3):
                out = self._cut(np.frombuffer(jpeg, np.uint8), look.height, look.width, JPEG)
                if out is not None:
                    return out
            # Pillow passes over damage that libjpeg only warns of.
            verify(content, look.jpeg)
        if isinstance(content, np.ndarray):
            pixels = gray_as_rgb(content)
        else:
            pixels = decode_rgb(content, upright=turned, most_pixels=self.rules.max_megapixels * 10**6)
        pixels = np.ascontiguousarray(pixels)
        out = self._cut(pixels.reshape(-1), pixels.shape[0], pixels.shape[1], RAW)
        assert out is not None, "pixels in memory are never damaged"
        return out

    def _cut(
        self, record: NDArray[np.uint8], height: int, width: int, form: StorageFormat
    ) -> NDArray[np.uint8] | None:
        """The crop of a record as validation decodes it; None where its data is damaged."""
        sides = np.array([height], np.int64), np.array([width], np.int64)
        boxes = np.ascontiguousarray(self._crop.boxes(np.zeros(1, np.int64), *sides), np.int32)
        windows = boxes[:, :4].astype(np.float64)
        if isinstance(self._crop, ResizeThenCrop):
            windows = self._crop.windows(*sides)
        # As a mapped file is: for memory of another kind numba would compile the decoders anew.
        record = record.view()
        record.flags.writeable = False
        batch = DecodeBatch(
            memory=record,
            offsets=np.zeros(1, np.int64),
            sizes=np.array([record.nbytes], np.int64),
            heights=sides[0],
            widths=sides[1],
            boxes=boxes,
            windows=np.ascontiguousarray(windows),
            out=np.empty((1, self.asked.resolution, self.asked.resolution, 3), np.uint8),
            status=np.full(1, UNKNOWN_MODE, np.uint8),
            exact=True,
        )
        form.decode(batch, np.zeros(1, np.int64), self._workspace())
        return batch.out[0] if batch.status[0] == OK else None

    def _workspace(self) -> Workspace:
        if not hasattr(self._local, "workspace"):
            self._local.workspace = Workspace(library())
        workspace: Workspace = self._local.workspace
        return workspace
