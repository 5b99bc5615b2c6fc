"""Opening a data file for a run: its loader, whether it is read into memory, and the messages about both."""

from collections.abc import Iterable

from engine.config.train.train_config import TrainConfig
from engine.data.beton.reader import Beton
from engine.data.loading.loader import Loader
from engine.data.loading.page_cache import shortage
from engine.data.loading.resident import ResidentData
from engine.progress import human_bytes
from engine.train.augment.chain import loader_dtype
from engine.train.ranks.group import Ranks
from engine.train.step.precision import Precision


def open_loader(
    config: TrainConfig,
    ranks: Ranks,
    precision: Precision,
    beton: Beton,
    *,
    training: bool,
    in_memory: bool = True,
    resident: ResidentData | None = None,
) -> Loader:
    """The loader of a file for training or validation; the caller closes it. Rank 0 prints how it decodes.

    `resident` are the file's records on the device, if they are to be held there: then no other memory holds them.
    """
    if beton.arrival is not None:
        _begin_download(config, ranks, beton, training=training)
    dtype = precision.input_dtype
    loader = Loader(
        beton,
        device=ranks.device,
        dtype=loader_dtype(config, dtype) if training else dtype,
        channels_last=config.training.channels_last,
        workers=config.data.num_workers or ranks.cores(),
        in_memory=in_memory and not resident and _reads_ahead(config, ranks, beton, training=training),
        decoder=config.data.decoder,
        verify=config.data.verify,
        corrupt=config.data.corrupt,
        resident=resident,
    )
    if ranks.main:
        name, detail = loader.decoder
        print(f"{beton.path}: {name}: {detail}", flush=True)
        if beton.checksums is None and config.data.verify != "never":
            print(f"note: {beton.path} has no checksums: only damage that breaks decoding is found")
    return loader


def _begin_download(config: TrainConfig, ranks: Ranks, beton: Beton, *, training: bool) -> None:
    """Begin with what is missing of a file at a URL; training in random order waits for all of it."""
    assert beton.arrival is not None
    beton.arrival.start()
    if not training or beton.arrival.is_complete:
        return
    streams = config.data.order == "pages"
    if ranks.main:
        line = (
            f"note: {beton.path.name} ({human_bytes(beton.file_size)}) is downloaded to {beton.path.parent}"
        )
        print(
            f"{line} while the first epoch trains"
            if streams
            else f"{line} before the training; with data.order=pages it trains meanwhile",
            flush=True,
        )
    if not streams:
        beton.arrival.wait()


def tell_new_skips(loaders: Iterable[Loader]) -> None:
    """Print a line for each sample that this rank has left out, once, and what loaders have to say besides."""
    for loader in loaders:
        for line in loader.new_skips():
            print(f"note: left out: {line}", flush=True)
        for line in loader.new_notes():
            print(f"note: {line}", flush=True)


def _reads_ahead(config: TrainConfig, ranks: Ranks, beton: Beton, *, training: bool) -> bool:
    """Whether this rank reads the whole file into memory; prints a note if memory is too small."""
    data, size = config.data, beton.file_size
    if ranks.local_rank != 0:
        return False
    if training and data.order == "pages":
        held = min(size, 2 * data.window_mb * 2**20)
        if lack := shortage("the data of two windows", held):
            print(f"note: {lack}: lower data.window_mb (it is {data.window_mb})", flush=True)
        return False
    lack = shortage(beton.path, size)
    if lack and training:
        print(f"note: {lack}: pass --data.order=pages, or it is read many times per epoch", flush=True)
    elif lack and data.in_memory:
        print(f"note: {lack}: it is read from the disk each time", flush=True)
    return data.in_memory and not lack
