"""A .beton with the records of another one repeated: data larger than a processor's cache, made quickly.

Records are copied page by page, without decoding. The tables are the source's with other positions; so are the
checksums. The manifest is left out, since it would name files that don't exist.
"""

import math
from pathlib import Path

import numpy as np

from engine.data.beton import layout
from engine.data.beton.reader import open_beton
from engine.data.beton.writer import write_checksums, write_ends
from engine.files import atomic_write


def repeat_records(source: Path, target: Path, count: int) -> None:
    """Write `target` with `count` samples: those of `source` over and over, in its order."""
    beton = open_beton(source)
    assert beton.checksums is not None
    times = math.ceil(count / beton.num_samples)
    memory = beton.memory()
    pointers = beton.images["data_ptr"].astype(np.int64)
    # Both on page borders, so that records cross pages only where the source's do.
    begin = int(pointers.min()) // beton.page_size * beton.page_size
    span = layout.align_up(int((pointers + beton.sizes.astype(np.int64)).max()), beton.page_size) - begin
    fields = np.frombuffer(memory[layout.HEADER.itemsize :][: 2 * layout.FIELD.itemsize], layout.FIELD).copy()
    fields[1]["arguments"] = 0

    samples = np.zeros(times * beton.num_samples, layout.sample_dtype(fields["type_id"].tolist()))
    data_start = layout.align_up(layout.HEADER.itemsize + fields.nbytes + samples.nbytes, beton.page_size)
    shift = np.repeat(data_start - begin + np.arange(times) * span, beton.num_samples)
    samples["f0"] = np.tile(beton.images, times)
    samples["f0"]["data_ptr"] = np.tile(pointers, times) + shift
    samples["f1"] = np.tile(beton.labels, times)
    checksums, sizes = np.tile(beton.checksums, times)[:count], np.tile(beton.sizes, times)[:count]
    samples = samples[:count].copy()
    table = np.zeros(len(samples), layout.ALLOCATION)
    table["sample_id"] = np.arange(len(samples))
    table["ptr"], table["size"] = samples["f0"]["data_ptr"], sizes
    # Whole pages, since a hole in the file would never be in the page cache.
    pages = np.zeros(span, np.uint8)
    pages[: len(memory) - begin] = memory[begin : begin + span]
    with atomic_write(target) as file:
        file.write(bytes(data_start))
        for number in range(times):
            file.seek(data_start + number * span)
            file.write(pages.data)
        # The last repeat's records beyond `count` have no entry.
        file.truncate(int((table["ptr"] + table["size"]).max()))
        file.seek(0, 2)
        write_checksums(file, fields, checksums, samples, table)
        write_ends(file, beton.page_size, fields, samples, table)
