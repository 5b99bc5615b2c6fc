"""Every option of `write_dataset.py`: its name, type, default, limits and help text."""

from dataclasses import dataclass, field

from engine.config.executor import RunConfig, check_run
from engine.config.options import check_config, option
from engine.errors import UserError

STORAGE_LIMITS: dict[str, str] = {
    "jpeg": "max_resolution",
    "raw": "max_resolution",
    "proportion": "max_resolution",
    "yuv420": "short_side",
}
"""Values of output.format -> the option that limits the size of stored images. A storage format that is registered
(engine.data.storage.formats) adds its own: data lies above configuration, so it can't be looked up from here."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """The data set to convert."""

    path: str = option(
        "",
        "the data set: a folder of class folders, the official ILSVRC2012 tars or their folder, Kaggle's ILSVRC tree, "
        "WebDataset shards, parquet files, CSV lists or MNIST-style idx files, as a path or as a URL that fsspec "
        "supports; or python:MODULE:ATTRIBUTE for a map-style data set in Python",
    )
    kind: str = option(
        "auto",
        "kind of data set. auto: recognised from the content of path. A name, such as folder or webdataset: read as "
        "that kind, no other is tried (docs/reference/sources.md lists them)",
    )
    train_folder: str = option("train", "image folder: name of the training split's subfolder")
    val_folder: str = option("val", "image folder: name of the validation split's subfolder")
    val_labels: str = option(
        "",
        "labels of a validation folder or tar without class folders: the ILSVRC2012 devkit (folder or .tar.gz), "
        "LOC_val_solution.csv, or a text file with one `file-name class` per line; empty = look for one beside the "
        "images",
    )
    image_column: str = option(
        "",
        "parquet and CSV: name of the column with the images (CSV: their paths); empty = the one with a usual name, "
        "such as image, img or jpg",
    )
    label_column: str = option(
        "",
        "parquet and CSV: name of the column with the labels, integers or class names; empty = the one with a usual "
        "name, such as label, target or fine_label",
    )
    check_counts: bool = option(
        True,
        "refuse a data set in which files are missing by their names (00001-of-00003, or a gap in 000, 001, ...), or "
        "whose number of images is not the one it states (dataset_info.json, README.md, WebDataset indexes, Kaggle's "
        "ImageSets, the list of val's classes); false = convert what is there",
    )
    val_classes: str = option(
        "own",
        "classes of the validation split. own: they must be those of train. train: val takes train's label numbers and "
        "may lack classes; an image of a class that train lacks is refused",
        choices=("own", "train"),
    )
    extensions: str = option(
        "",
        "in folders and tars, take images of these types too, beside .jpg, .jpeg, .png, .bmp and .webp: extensions "
        "with commas between, such as .tif,.ppm",
    )
    split: float = option(
        0.0,
        "for a data set without a validation split: fraction of each class's images to take for validation, by "
        "split_seed and the image's path. Class folders may lie in path itself, without train_folder. 0 = the data set "
        "has a validation split",
        low=0,
        high=0.9,
    )
    split_seed: int = option(0, "seed of split", low=0, high=2**31 - 1)
    storage_options: str = option(
        "",
        'with a URL: options for fsspec as a JSON object, such as {"endpoint_url": "http://host:9000"} for a private '
        "S3 server",
    )


@dataclass(frozen=True, kw_only=True)
class RulesConfig:
    """What to do with images that are not plain RGB JPEGs (fail, skip, repair or keep).

    Each such image is counted; a skipped one is listed with its reason. fail: end the conversion, naming the image.
    skip: leave the image out. repair: turn it into plain RGB as the option says. keep: store it like any other.
    """

    empty: str = option("fail", "files of zero bytes", choices=("fail", "skip"))
    unreadable: str = option(
        "fail",
        "images that cannot be read (a link that leads nowhere, no permission, a disk error, an item that is empty or "
        "fails) or are in an unknown image format",
        choices=("fail", "skip"),
    )
    damaged: str = option(
        "fail",
        "truncated or damaged images; repair = store what can be decoded, the rest as the decoder leaves it",
        choices=("fail", "skip", "repair"),
    )
    oversized: str = option(
        "fail",
        "images above max_megapixels or max_megabytes, which are not even decoded or read; repair = use them anyway",
        choices=("fail", "skip", "repair"),
    )
    max_megapixels: int = option(
        200, "size above which an image counts as oversized", unit="megapixels", low=1, high=4000
    )
    max_megabytes: int = option(
        500, "size of a file above which an image counts as oversized", unit="MB", low=1, high=100_000
    )
    cmyk: str = option(
        "repair",
        "CMYK and YCCK images; repair = convert to RGB as Pillow does",
        choices=("fail", "skip", "repair"),
    )
    grayscale: str = option(
        "repair",
        "grayscale images; repair = three equal channels",
        choices=("fail", "skip", "repair"),
    )
    palette: str = option(
        "repair",
        "images with a palette; repair = look up their colours",
        choices=("fail", "skip", "repair"),
    )
    transparent: str = option(
        "repair",
        "images with an alpha channel; repair = drop it, as Pillow does",
        choices=("fail", "skip", "repair"),
    )
    deep: str = option(
        "repair",
        "images with more than 8 bits per channel; repair = keep the upper 8 bits",
        choices=("fail", "skip", "repair"),
    )
    misnamed: str = option(
        "repair",
        "images whose format differs from their file name, such as a PNG named .JPEG; repair = read them by content",
        choices=("fail", "skip", "repair"),
    )
    duplicate: str = option(
        "keep",
        "images with the same content as an earlier one of the same split; skip = keep only the first, in file order",
        choices=("fail", "skip", "keep"),
    )
    conflict: str = option(
        "keep",
        "images with the same content as one of another class, so that a label is wrong; they are always counted, and "
        "the first is named. keep: treat them like other copies. skip = leave out all of them (of one in train and one "
        "in val, the one in train)",
        choices=("fail", "skip", "keep"),
    )
    leak: str = option(
        "keep",
        "training images with the same content as a validation image; skip = leave them out of training",
        choices=("fail", "skip", "keep"),
    )
    exif: str = option(
        "ignore",
        "rotation by EXIF data, or by XMP where EXIF has none. ignore: store the pixels as they are in the file, as "
        "Pillow and torchvision read them. apply: rotate the image, as Pillow's exif_transpose does",
        choices=("ignore", "apply"),
    )


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """The files to write: train.beton and val.beton."""

    folder: str = option("", "folder for train.beton and val.beton; created if missing")
    format: str = option(
        "jpeg",
        "storage format. yuv420: full-range YUV 4:2:0, half the bytes of raw and the fastest to load. proportion: "
        "JPEG with probability compress_probability, else raw RGB",
        choices=STORAGE_LIMITS,
    )
    max_resolution: int = option(
        500,
        "shrink images whose longer side exceeds this; 0 = never shrink (for yuv420 see short_side)",
        unit="px",
        low=0,
        high=65535,
    )
    short_side: int = option(
        256,
        "yuv420: shrink images whose shorter side exceeds this; 0 = use max_resolution instead",
        unit="px",
        low=0,
        high=512,
    )
    jpeg_quality: int = option(90, "JPEG quality of images that are encoded again", low=1, high=100)
    jpeg_subsampling: str = option(
        "420", "chroma subsampling of images that are encoded again", choices=("420", "422", "444")
    )
    jpeg_unchanged: bool = option(
        True,
        "store a JPEG within max_resolution as it is, without its metadata; false = encode every image again",
    )
    jpeg_check: bool = option(
        True,
        "check all data of a JPEG that is stored as it is; false = check only its header and end, which takes half the "
        "time but leaves other damage to be found in training",
    )
    compress_probability: float = option(
        0.5, "proportion: fraction of the images stored as JPEG", low=0, high=1
    )
    subset: int = option(
        0,
        "write only this many images of each split, drawn at random with the seed; 0 = all",
        unit="images",
        low=0,
    )
    num_workers: int = option(
        0, "encoding processes; 0 = one per CPU core, if memory has room for them", low=0, high=1024
    )
    page_size: int = option(
        8,
        "page size of the file, a power of two; every stored image has to fit into one page",
        unit="MiB",
        low=2,
        high=2048,
    )
    seed: int = option(
        0, "seed of the image order, of the subset and of the JPEG/raw choice", low=0, high=2**31 - 1
    )
    order: str = option(
        "shuffled",
        "order of the images in the file. shuffled: by the seed, so that sequential reads mix classes. source: as in "
        "the source, which is faster on disks and servers with slow random access",
        choices=("shuffled", "source"),
    )
    shard: str = option(
        "",
        "write only part i of n, given as i/n (1/8 to 8/8), as train.i-of-n.beton and val.i-of-n.beton; `python -m "
        "engine merge` joins them; empty = everything",
    )
    license: str = option("", "note on the data's licence, stored in the file")
    overwrite: bool = option(False, "replace existing files")


@dataclass(frozen=True, kw_only=True)
class WriteConfig:
    """A whole conversion. Constructing it checks every value (raises UserError)."""

    source: SourceConfig = field(default_factory=SourceConfig)
    rules: RulesConfig = field(default_factory=RulesConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_config(self)
        if not self.source.path:
            raise UserError("source.path is not set: pass --source.path=FOLDER, the data set to convert")
        if not self.output.folder:
            raise UserError(
                "output.folder is not set: pass --output.folder=FOLDER for train.beton and val.beton"
            )
        if "://" in self.output.folder:
            raise UserError(
                f"output.folder: {self.output.folder} is a URL: it must be a folder on this machine; copy the files "
                "afterwards"
            )
        if self.output.page_size & (self.output.page_size - 1):
            raise UserError(
                f"output.page_size: {self.output.page_size} is not a power of two: use 2, 4, 8, 16, ..."
            )
        _check_sides(self.output)
        check_run(self.run, copy_rules(self.rules), self.output.shard, self.output.overwrite)


def copy_rules(rules: RulesConfig) -> dict[str, str]:
    """The rules about images that are there twice: they need all images of the data set."""
    return {name: getattr(rules, name) for name in ("duplicate", "leak", "conflict")}


def _check_sides(output: OutputConfig) -> None:
    """Raises UserError for a size limit that the format would ignore."""
    by_short_side = STORAGE_LIMITS[output.format] == "short_side"
    if not by_short_side and output.short_side != OutputConfig.short_side:
        raise UserError(
            f"output.short_side is for format yuv420: with {output.format}, set output.max_resolution"
        )
    if by_short_side and output.short_side and output.max_resolution != OutputConfig.max_resolution:
        raise UserError(
            f"output.max_resolution works with output.format={output.format} only if output.short_side is 0: set one "
            "of the two"
        )
