"""The options of section `data`: the two data files and how they are read."""

from dataclasses import dataclass
from typing import Any

from engine.config.options import json_object, option
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The two data files and how they are read."""

    train_dataset: str = option(
        "",
        ".beton file to train on, or its URL (s3://BUCKET/train.beton, gs://, az://, https:// or any that fsspec "
        "supports): it is downloaded once a machine; with order=pages the first epoch trains meanwhile",
    )
    val_dataset: str = option(
        "", ".beton file to validate on, or its URL; that is downloaded after the training file"
    )
    cache_folder: str = option(
        "",
        "folder on a local disk for files that are downloaded from URLs, which runs share and later runs find again; "
        "empty = imagenet-engine/data in ~/.cache (in XDG_CACHE_HOME where that is set, in the system's folder for "
        "temporary files for a user without a home)",
    )
    cache_gb: float = option(
        0.0,
        "most space that the files in cache_folder may take: for a new one those that were not used for the longest "
        "time are removed, never one in use; 0 = no limit but the disk",
        unit="GB",
        low=0,
    )
    storage_options: str = option(
        "",
        "with a URL: options of its server as a JSON object. For S3 fsspec's names: key, secret, token, anon, "
        'endpoint_url, region, as in {"anon": true}; for others those of obstore, or of fsspec without it. config.yaml '
        "holds them: keep secrets in the environment (AWS_ACCESS_KEY_ID and so on), which counts by itself",
    )
    classes: str = option(
        "",
        "the classes that both files must have: their number and a checksum of their names, as config.yaml of a run "
        "holds them; empty = any",
    )
    num_workers: int = option(
        0, "decoding threads per process; 0 = this process's share of the CPU cores", low=0, high=1024
    )
    in_memory: bool = option(
        True, "before training, read each file into the page cache if it fits into memory"
    )
    order: str = option(
        "random",
        "order of the training images. random: shuffle the whole file. pages: for files larger than memory; shuffle "
        "the file's pages, read a window of them at a time and shuffle the images within it (each image still once "
        "per epoch)",
        choices=("random", "pages"),
    )
    balance: str = option(
        "none",
        "for classes of very different sizes: how often each is used in an epoch, whose length stays. none: each image "
        "once. sqrt: in proportion to the square root of the class's images. equal: all classes alike. Images of small "
        "classes are used several times, with other crops; of large ones an epoch uses a part, the next epoch the next",
        choices=("none", "sqrt", "equal"),
    )
    window_mb: int = option(
        2048,
        "with order=pages: size of the window that is shuffled together; each host holds two windows in memory",
        unit="MiB",
        low=8,
        high=2**20,
    )
    decoder: str = option(
        "auto",
        "where images become tensors. cpu: decode and resize on the CPU. packed: copy only the bytes of each crop to "
        "the device and finish there (raw and yuv420 files). gpu: decode JPEG files on an NVIDIA GPU by nvJPEG (extra "
        "`nvjpeg`; not tested on a GPU yet). auto: packed on a GPU where the file allows it, else cpu",
        choices=("auto", "cpu", "packed", "gpu"),
    )
    resident: str = option(
        "off",
        "hold the images of the training file (raw or yuv420) on the device and cut crops there, which leaves no work "
        "per image to the host. A third of a GPU's memory is kept for the training itself. auto: on GPUs of which each "
        "can hold all images, else off. on: refuse to start where they don't fit; with several ranks, each holds its "
        "own part and draws from it where not all fit, which is another order (not with balance or order=pages). "
        "off is the default until it has run on a GPU",
        choices=("auto", "on", "off"),
    )
    verify: str = option(
        "first-epoch",
        "when to check an image's checksum, in files that have checksums. first-epoch: the first time a process uses "
        "the image; resident data are checked once, when they are copied",
        choices=("first-epoch", "always", "never"),
    )
    corrupt: str = option(
        "stop",
        "what to do with a corrupt image. stop: end the run. skip: leave it out of its batch, name it and count it",
        choices=("stop", "skip"),
    )
    holdout: float = option(
        0.0,
        "fraction of the training images, drawn with training.seed, to keep out of training for validation.search; "
        "0 = train on all images",
        low=0,
        high=0.5,
    )
    replay: int = option(
        0,
        "benchmark mode: load the first N batches of each epoch once and replay them, to measure the training step "
        "without data loading; nothing is validated or saved; 0 = off",
        unit="batches",
        low=0,
        high=10_000,
    )
    pin_cores: bool = option(
        True,
        "with several processes on a host: bind each one to CPU cores near its GPU; false = leave it to the system",
    )

    def storage(self) -> dict[str, Any]:
        """storage_options as a dictionary. Raises UserError for anything but a JSON object."""
        return json_object("data.storage_options", self.storage_options)


def check_data(data: DataConfig) -> None:
    """Raises UserError for options of section `data` that don't go together."""
    data.storage()
    if data.storage_options and not any("://" in place for place in (data.train_dataset, data.val_dataset)):
        raise UserError(
            "data.storage_options has no effect without a URL in data.train_dataset or data.val_dataset: drop it"
        )
