"""A plan cut into chunks of work."""

from collections.abc import Iterator

from engine.config.write_schema import WriteConfig
from engine.data.chunk import Task
from engine.data.plan import Plan
from engine.data.record import RecordSettings

# Where nothing is known of the images.
USUAL_CHUNK = 16

# A chunk's records together and the time they take: little enough for memory and for a quick end, much enough for
# sending the chunk to cost nothing.
_CHUNK_BYTES = 4 * 2**20
_CHUNK_SECONDS = 0.25
_LARGEST_CHUNK = 256


def record_settings(config: WriteConfig) -> RecordSettings:
    """How images become records."""
    output = config.output
    return RecordSettings(
        max_resolution=output.max_resolution,
        short_side=output.short_side,
        jpeg_quality=output.jpeg_quality,
        jpeg_subsampling=output.jpeg_subsampling,
        jpeg_unchanged=output.jpeg_unchanged,
        jpeg_check=output.jpeg_check,
        max_bytes=output.page_size * 2**20,
        rules=config.rules,
    )


def chunk_size(bytes_each: float, seconds_each: float) -> int:
    """How many images of this size, that take so long to encode, make a chunk; it changes nothing in the file."""
    most = min(_CHUNK_BYTES / bytes_each, _CHUNK_SECONDS / max(seconds_each, 1e-9))
    return max(1, min(_LARGEST_CHUNK, int(most)))


def make_tasks(plan: Plan, first: int, chunk: int, settings: RecordSettings) -> Iterator[Task]:
    """The images from number `first` on, `chunk` at a time."""
    images = plan.images
    for begin in range(first, len(plan), chunk):
        here = slice(begin, begin + chunk)
        yield Task(
            first=begin,
            ids=images.ids[here],
            places=images.places[here],
            modes=plan.modes[here],
            reader=images.reader,
            settings=settings,
        )
