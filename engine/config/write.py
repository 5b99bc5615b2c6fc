"""Every option of `write_dataset.py`: its name, type, default, limits and help text."""

from dataclasses import dataclass, field

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
    """Where the images are."""

    path: str = option(
        "",
        "the data set: a folder of class folders, the official ILSVRC2012 tars or the folder they lie in, Kaggle's "
        "ILSVRC tree, WebDataset shards, parquet files, MNIST-style idx files; a path, any URL that fsspec knows, or "
        "python:MODULE:ATTRIBUTE for a map-style data set in Python",
    )
    kind: str = option(
        "auto",
        "kind of data set; auto: recognised by what lies at path; a name, such as folder or webdataset: read as that "
        "kind without looking for others (docs/reference/sources.md lists them)",
    )
    train_folder: str = option("train", "image folder: name of the training split's folder")
    val_folder: str = option("val", "image folder: name of the validation split's folder")
    val_labels: str = option(
        "",
        "labels of a validation folder or tar without class folders: the ILSVRC2012 devkit (folder or .tar.gz), "
        "LOC_val_solution.csv, or a text file of lines `file-name class`; empty: look for one beside it",
    )
    storage_options: str = option(
        "",
        'JSON given to fsspec with a URL, such as {"endpoint_url": "http://host:9000"} for an S3 of your own',
    )


@dataclass(frozen=True, kw_only=True)
class RulesConfig:
    """What becomes of images that are not plain RGB JPEGs. Each is counted; a skipped one is listed with its reason.

    fail: end the conversion naming the image. skip: leave it out. repair: store it, made into plain RGB by the rule
    named. keep: store it as any other.
    """

    empty: str = option("fail", "files of zero bytes", choices=("fail", "skip"))
    unreadable: str = option("fail", "files in no image format known here", choices=("fail", "skip"))
    damaged: str = option(
        "fail",
        "images that are cut short or whose data is damaged; repair: what can be decoded, the rest as the decoder "
        "leaves it",
        choices=("fail", "skip", "repair"),
    )
    oversized: str = option(
        "fail",
        "images of more than max_megapixels (decompression bombs); repair: decoded all the same",
        choices=("fail", "skip", "repair"),
    )
    max_megapixels: int = option(200, "what counts as oversized, in millions of pixels", low=1, high=4000)
    cmyk: str = option(
        "repair",
        "CMYK and YCCK images; repair: Pillow's conversion to RGB",
        choices=("fail", "skip", "repair"),
    )
    grayscale: str = option(
        "repair", "grayscale images; repair: three equal channels", choices=("fail", "skip", "repair")
    )
    palette: str = option(
        "repair", "images with a palette; repair: its colours", choices=("fail", "skip", "repair")
    )
    transparent: str = option(
        "repair",
        "images with an alpha channel; repair: it is dropped, as by Pillow",
        choices=("fail", "skip", "repair"),
    )
    deep: str = option(
        "repair",
        "images of more than 8 bits a channel; repair: their upper 8 bits",
        choices=("fail", "skip", "repair"),
    )
    misnamed: str = option(
        "repair",
        "images in another format than their name says, such as a PNG named .JPEG; repair: read as what they are",
        choices=("fail", "skip", "repair"),
    )
    duplicate: str = option(
        "keep",
        "images of the same content as one before, in file order, of the same split; skip: the first one stays",
        choices=("fail", "skip", "keep"),
    )
    leak: str = option(
        "keep",
        "training images of the same content as one of the validation split; skip: left out of training",
        choices=("fail", "skip", "keep"),
    )
    exif: str = option(
        "ignore",
        "rotation in EXIF data; ignore: pixels as stored, which is what Pillow's and torchvision's users get; apply: "
        "turn the image",
        choices=("ignore", "apply"),
    )


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """What is written: `train.beton` and `val.beton` in one folder."""

    folder: str = option("", "folder for train.beton and val.beton; made if missing")
    format: str = option(
        "jpeg",
        "how images are stored; yuv420: full-range YUV 4:2:0, half of raw's bytes and the fastest to load; "
        "proportion: JPEG with probability compress_probability, else raw RGB",
        choices=STORAGE_LIMITS,
    )
    max_resolution: int = option(
        500,
        "shrink images whose longer side exceeds this, in pixels; 0: never (yuv420: see short_side)",
        low=0,
        high=65535,
    )
    short_side: int = option(
        256,
        "yuv420: shrink images whose shorter side exceeds this, in pixels; 0: go by max_resolution instead",
        low=0,
        high=512,
    )
    jpeg_quality: int = option(90, "JPEG quality of images that are encoded anew", low=1, high=100)
    jpeg_subsampling: str = option(
        "420", "chroma subsampling of images that are encoded anew", choices=("420", "422", "444")
    )
    jpeg_unchanged: bool = option(
        True,
        "store a JPEG that is within max_resolution as it is, without its metadata; false: encode every image anew",
    )
    jpeg_check: bool = option(
        True,
        "go through all data of a JPEG that is stored as it is; false: through its header and end alone, which takes "
        "half of the time, and damage between them is met in training",
    )
    compress_probability: float = option(0.5, "proportion: share of images stored as JPEG", low=0, high=1)
    subset: int = option(0, "write only so many images of each split, drawn by seed; 0: all", low=0)
    num_workers: int = option(0, "encoding processes; 0: one per core", low=0, high=1024)
    page_size: int = option(
        8, "page size of the file in MiB, a power of two; a stored image must fit into one", low=2, high=2048
    )
    seed: int = option(
        0, "seed of the order, of the subset and of the JPEG/raw choice", low=0, high=2**31 - 1
    )
    order: str = option(
        "shuffled",
        "order of the images in the file; shuffled by the seed, so that reading on is reading a mixture; source: as "
        "they lie in the source, which suits disks and servers that are slow at reading here and there",
        choices=("shuffled", "source"),
    )
    shard: str = option(
        "",
        "i/n: write only the i-th of n equal parts (1/8 to 8/8), as train.i-of-n.beton and val.i-of-n.beton; "
        "`python -m engine merge` makes one file of them",
    )
    license: str = option("", "a note on the data's licence, kept in the file")
    overwrite: bool = option(False, "replace files that are there already")


@dataclass(frozen=True, kw_only=True)
class WriteConfig:
    """A whole conversion. Constructing it checks every value (raises UserError)."""

    source: SourceConfig = field(default_factory=SourceConfig)
    rules: RulesConfig = field(default_factory=RulesConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

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
                f"output.page_size: {self.output.page_size} is not a power of two (2, 4, 8, 16, ...)"
            )
        _check_sides(self.output)


def _check_sides(output: OutputConfig) -> None:
    """Refuse a limit that the format would not heed."""
    by_short_side = STORAGE_LIMITS[output.format] == "short_side"
    if not by_short_side and output.short_side != OutputConfig.short_side:
        raise UserError(
            f"output.short_side is for format yuv420: with {output.format}, set output.max_resolution"
        )
    if by_short_side and output.short_side and output.max_resolution != OutputConfig.max_resolution:
        raise UserError(
            f"output.max_resolution counts for format {output.format} only with --output.short_side=0: set one of "
            "the two"
        )
