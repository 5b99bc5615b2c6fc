"""Which decoder is whose: one function for each way an image is stored, all of one signature."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.layout import MODE_JPEG, MODE_RAW, MODE_YUV420
from engine.data.decode.batch import DecodeBatch
from engine.data.decode.workspace import Workspace
from engine.data.storage import jpeg, raw, yuv420

Decode = Callable[[DecodeBatch, NDArray[np.int64], Workspace], None]

DECODERS: dict[int, Decode] = {MODE_JPEG: jpeg.decode, MODE_RAW: raw.decode, MODE_YUV420: yuv420.decode}
