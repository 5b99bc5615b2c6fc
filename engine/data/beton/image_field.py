"""The descriptor of a file's image field: which storage formats its images may have, and what they were shrunk to.

ffcv's own field says nothing in its `arguments`; a custom field's open with layout.CUSTOM_ARGUMENTS.
"""

import numpy as np
from numpy.typing import NDArray

from engine.data.beton import layout
from engine.data.storage.formats import all_formats
from engine.data.storage.storage_format import StorageFormat


def field_type(form: StorageFormat) -> int:
    """The type id of the field that images of this format lie in."""
    return layout.CUSTOM_FIELD if form.magic else layout.RGB_IMAGE_FIELD


def put_arguments(
    arguments: NDArray[np.uint8], form: StorageFormat, short_side: int, max_resolution: int
) -> None:
    """Write into a field's `arguments` which format it is of and the limits of its images (pixels, 0: none)."""
    if form.magic:
        record = np.array((form.magic, form.version, short_side, max_resolution), layout.CUSTOM_ARGUMENTS)
        arguments[: record.nbytes] = np.frombuffer(record.tobytes(), np.uint8)


def custom_arguments(arguments: NDArray[np.uint8]) -> np.void:
    """The layout.CUSTOM_ARGUMENTS in a field's `arguments`, whatever they say."""
    record: np.void = np.frombuffer(arguments.tobytes(), layout.CUSTOM_ARGUMENTS, count=1)[0]
    return record


def formats_in(type_id: int, arguments: NDArray[np.uint8]) -> tuple[StorageFormat, ...]:
    """What a field of this type and these `arguments` may hold; none where that is not registered here."""
    magic = custom_arguments(arguments)["magic"] if type_id == layout.CUSTOM_FIELD else b""
    if type_id == layout.CUSTOM_FIELD and not magic:
        return ()
    return tuple(form for form in all_formats() if form.magic == magic)
