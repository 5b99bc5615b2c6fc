"""How an image is stored in a .beton: one StorageFormat for each file, registered here."""

from engine.data.storage.formats import register
from engine.data.storage.jpeg import JPEG
from engine.data.storage.raw import RAW
from engine.data.storage.yuv420 import YUV420

__all__ = ["JPEG", "RAW", "YUV420"]

for _form in (JPEG, RAW, YUV420):
    register(_form)
