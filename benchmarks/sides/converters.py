"""The sides of the convert stage: each converts an image folder to a .beton and returns the images written."""

import multiprocessing
import os

from benchmarks.harness.processes.conversions import Conversion, clock


def ours(conversion: Conversion) -> int:
    """write_dataset.py's conversion; returns the images written."""
    from engine.config.write import OutputConfig, SourceConfig, WriteConfig
    from engine.data.beton.reader import open_beton
    from engine.data.convert.conversion import convert

    output = OutputConfig(folder=str(conversion.output), num_workers=conversion.workers, **conversion.ours)
    with clock():
        paths = convert(WriteConfig(source=SourceConfig(path=str(conversion.source)), output=output))
    return sum(open_beton(path).num_samples for path in paths.values())


def ffcv(conversion: Conversion) -> int:
    """ffcv's own writer, fed as ffcv-imagenet feeds it; its file is synced too. Returns the images written."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter
    from torchvision.datasets import ImageFolder

    # Its processes are forked, as from a user's script; by default they would be spawned as this one was.
    multiprocessing.set_start_method("fork", force=True)
    path = conversion.output / "train.beton"
    with clock():
        images = ImageFolder(str(conversion.source / "train"))
        fields = {"image": RGBImageField(**conversion.peer), "label": IntField()}
        DatasetWriter(str(path), fields, num_workers=conversion.workers).from_indexed_dataset(images)
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    # They are done; their CPU time counts once they have ended.
    for process in multiprocessing.active_children():
        process.join()
    return len(images)
