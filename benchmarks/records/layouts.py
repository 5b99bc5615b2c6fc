"""How each stage's records are shown: the columns of its table, and what they mean.

An explanation is part of each page of records: after a change `python -m benchmarks` writes other pages than those
committed under benchmarks/results/.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.records.overhead_limit import LIMIT, overhead, verdict

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One stage's columns (head -> cell) beside those that all stages have, and what they mean."""

    what: dict[str, Callable[[Record], str]]
    """What was measured; two comparisons differ in one of these."""
    unit: str
    """Of both sides' values."""
    digits: int
    """Decimals of a value."""
    more: dict[str, Callable[[Record], str]]
    """Columns after the values."""
    explanation: str


_PX: dict[str, Callable[[Record], str]] = {"px": lambda r: str(r["resolution"])}
_SCALE: dict[str, Callable[[Record], str]] = {"scale": lambda r: f"{r['scale'][0]:g}-{r['scale'][1]:g}"}
_BATCH: dict[str, Callable[[Record], str]] = {"batch": lambda r: str(r["batch"])}

_RATIO = "the median of paired rounds and the interval that holds it with at least 90% confidence"

_SIDES: dict[str, Callable[[Record], str]] = {
    "ours ms/img": lambda r: f"{r['ours_cpu_ms_per_image']:.3f}",
    "peer ms/img": lambda r: f"{r['peer_cpu_ms_per_image']:.3f}",
    "pixels differ": lambda r: (
        f"{r['pixel_difference']:.2f}"
        + ("" if r["labels_equal"] else ", labels too")
        # Older records lack it.
        + ("" if r.get("each_image_once", True) else ", not each image once")
    ),
    "other load": lambda r: f"{r['other_cores']:.2f}",
}
_SAME_WORK = (
    "ms/img: CPU time of all threads and processes. pixels differ: mean absolute difference on the same centre crops, "
    "in levels of 0 to 255. other load: the most cores that anything else kept busy during a round."
)

LAYOUTS = {
    "loader": Layout(
        what={**_PX, **_SCALE, "cores": lambda r: str(r["cores"]), "cache": lambda r: str(r["cache"])},
        unit="img/s",
        digits=0,
        more=_SIDES,
        explanation=f"ratio: ours / peer's images per second, {_RATIO}; above 1 ours is faster. ms/img: CPU time "
        "of all threads. pixels differ: mean absolute difference on the same centre crops, in levels of 0 to 255. "
        "other load: the most cores that anything else kept busy during a round. cache: warm, each side has read "
        "the images before; first, each round is a new process that reads each image for the first time; cold, "
        "likewise and from the disk.",
    ),
    "decode": Layout(
        what={**_PX, "crop": lambda r: str(r["crop"]), "cores": lambda r: str(r["cores"])},
        unit="img/s",
        digits=0,
        more=_SIDES,
        explanation=f"ratio: ours / peer's images per second, {_RATIO}; above 1 ours is faster. From records in "
        "memory, a batch after the other with nothing prepared ahead. crop: least and most of the image's area, or the "
        f"centred square of its whole short side. {_SAME_WORK}",
    ),
    "read": Layout(
        what={"cache": lambda r: str(r["cache"])},
        unit="img/s",
        digits=0,
        more={
            "ours MB/s": lambda r: f"{r['ours_bytes_per_second'] / 1e6:,.0f}",
            "peer MB/s": lambda r: f"{r['peer_bytes_per_second'] / 1e6:,.0f}",
        },
        explanation=f"ratio: ours / peer's images per second, {_RATIO}; above 1 ours is faster. The JPEG data of each "
        "image once, by one thread, into memory of its own. cache: warm, the files lie in memory; cold, on the disk "
        "alone when a round begins.",
    ),
    "copy": Layout(
        what={"what": lambda r: str(r["what"]), **_PX, **_BATCH},
        unit="img/s",
        digits=0,
        more={"ours GB/s": lambda r: f"{r['ours_bytes_per_second'] / 1e9:.1f}"},
        explanation=f"ratio: ours / peer's images per second, {_RATIO}; above 1 ours is faster. From host memory to "
        "the GPU, timed by its events: ours from pinned memory, the peer's from memory as torch allocates it.",
    ),
    "train": Layout(
        what={"network": lambda r: str(r["arch"]), **_PX, **_BATCH, "images": lambda r: str(r["images"])},
        unit="img/s",
        digits=0,
        more={"other load": lambda r: f"{r['other_cores']:.2f}"},
        explanation=f"ratio: ours / peer's images per second of whole training, {_RATIO}; above 1 ours is faster. An "
        "epoch of the trainer over so many images, from the file to the updated weights. replay: the same trainer with "
        "batches that lie ready, which no loader can beat: the ratio is the share of that ceiling.",
    ),
    "roofline": Layout(
        what={
            "what": lambda r: r["what"] + (f", crops {r['scale'][0]:g}-1" if r["what"] == "decode" else ""),
            **_PX,
            "precision": lambda r: str(r["precision"]),
        },
        unit="img/s",
        digits=0,
        more={
            "of limit": lambda r: f"{100 * r['ratio']['median']:.0f}%",
            "limit by": lambda r: str(r["limit_by"]),
            "per image": lambda r: str(r["per_image"]),
            "device": lambda r: str(r["device_rates"]),
        },
        explanation=f"ratio: what was reached / the limit, {_RATIO}. Of a step the limit is the lower one of what the "
        "matrix rate and the memory bandwidth, both measured in the same rounds, allow with its FLOPs "
        "(torch.utils.flop_counter) and an estimate of its bytes. Of decoding it is libjpeg-turbo's own tjbench, which "
        "decodes the whole image and does nothing else; above 1 ours does with less than the whole image.",
    ),
    "memory": Layout(
        what={**_PX, **_BATCH},
        unit="MB",
        digits=0,
        more={},
        explanation="MB (10^6 bytes): the most RssAnon + RssShmem that /proc/PID/status showed of the loader's "
        "process during an epoch's first batches, less what it was after the imports and before the file was "
        "opened; code compiled since counts, pages of the mapped file don't. ratio: ours / peer's, "
        f"{_RATIO}; below 1 ours takes less.",
    ),
    "startup": Layout(
        what={"start": lambda r: str(r["start"]), "since": lambda r: str(r["since"])},
        unit="s",
        digits=3,
        more={},
        explanation="seconds until the first batch is there. start: cold, with no compiled code kept from before; "
        "second, with that of an earlier start; new resolution, within a running process. since: the process's "
        f"start, the end of its imports, or asking for it. ratio: ours / peer's, {_RATIO}; below 1 ours is quicker.",
    ),
    "convert": Layout(
        what={
            "case": lambda r: str(r["case"]),
            "px": lambda r: str(r["resolution"] or "any"),
            "workers": lambda r: str(r["cores"]),
        },
        unit="img/s",
        digits=0,
        more={
            "ours MB/s": lambda r: f"{r['ours_bytes_per_second'] / 1e6:,.1f}",
            "peer MB/s": lambda r: f"{r['peer_bytes_per_second'] / 1e6:,.1f}",
            "ours kB/img": lambda r: f"{r['ours_bytes_per_image'] / 1e3:.1f}",
            "peer kB/img": lambda r: f"{r['peer_bytes_per_image'] / 1e3:.1f}",
            "ours ms/img": lambda r: f"{r['ours_cpu_ms_per_image']:.2f}",
            "peer ms/img": lambda r: f"{r['peer_cpu_ms_per_image']:.2f}",
        },
        explanation=f"ratio: ours / peer's images per second, {_RATIO}; above 1 ours is faster. Timed from looking "
        "for the images until the file is synced to the disk, the start of the encoding processes included. case: "
        "what is done to each image. px: limit of the longer side. MB/s: what was written. ms/img: CPU time of all "
        "processes.",
    ),
    "resize": Layout(
        what={**_PX, **_SCALE, **_BATCH},
        unit="img/s",
        digits=0,
        more={
            "pixels differ": lambda r: f"{r['pixel_difference']:.1e}",
            "at most": lambda r: f"{r['most_pixel_difference']:g}",
        },
        explanation=f"ratio: ours / peer's images per second, {_RATIO}; above 1 ours is faster. pixels differ: mean "
        "absolute difference to what the CPU decodes, and the largest one, in levels of 0 to 255.",
    ),
    "step": Layout(
        what={
            "network": lambda r: str(r["arch"]),
            **_PX,
            **_BATCH,
            "BlurPool": lambda r: _on(r["blurpool"]),
            "ours compiled": lambda r: _on(r["compile"]),
        },
        unit="img/s",
        digits=0,
        more={
            "ours ms": lambda r: f"{1000 * r['batch'] / r['ours_median']:.1f}",
            "peer ms": lambda r: f"{1000 * r['batch'] / r['peer_median']:.1f}",
            "losses differ": lambda r: (
                f"{r['loss_differences'][0]:.1e}" if r["same_network"] else "another network"
            ),
            "other load": lambda r: f"{r['other_cores']:.2f}",
        },
        explanation=f"ratio: ours / peer's images per second of whole training steps, {_RATIO}; above 1 ours is "
        "faster. ms: of a step. losses differ: by how much, in the first step from the same weights on the same "
        "images. other load: the most cores that anything else kept busy during a round.",
    ),
    "overhead": Layout(
        what={"network": lambda r: str(r["arch"]), **_PX, **_BATCH, "compiled": lambda r: _on(r["compile"])},
        unit="img/s",
        digits=1,
        more={
            "overhead": lambda r: _overhead(r["ratio"]),
            "verdict": lambda r: verdict(r["ratio"]),
            "bare ms": lambda r: f"{1000 * r['batch'] / r['peer_median']:.2f}",
            "other load": lambda r: f"{r['other_cores']:.2f}",
        },
        explanation=f"ratio: the loop's / the bare step's images per second, {_RATIO}. overhead: by how much the "
        "loop's steps take longer, 1 / ratio - 1, with its interval. verdict: holds where all of that lies below "
        f"{LIMIT:.0%}, over where all of it lies above, undecided where it spans {LIMIT:.0%} (more --rounds narrow "
        "it). loop: an epoch of engine.train.trainer.Trainer, written into the run's folder and report, its progress "
        "bar drawn, with the moving average of the weights. bare ms: of a step without any of it.",
    ),
    "blurpool": Layout(
        what={
            "what": lambda r: str(r["what"]),
            **_PX,
            "precision": lambda r: r["precision"] + (", compiled" if r["compiled"] else ""),
            **_BATCH,
        },
        unit="s",
        digits=4,
        more={},
        explanation=f"seconds forward and backward, or of a training step. ratio: ours / peer's, {_RATIO}; below 1 "
        "ours is quicker. What the names mean is in benchmarks/stages/blurpool.py.",
    ),
    "export": Layout(
        what={"network": lambda r: str(r["what"]), **_PX, **_BATCH},
        unit="s",
        digits=4,
        more={"size": lambda r: f"{r['size_ratio']:.0%}"},
        explanation=f"seconds of a forward pass. ratio: ours / peer's, {_RATIO}; below 1 ours is quicker. size: of "
        "ours' file / of the peer's (eager: its weights).",
    ),
    "predict": Layout(
        what={"network": lambda r: str(r["arch"]), **_PX, **_BATCH, "cores": lambda r: str(r["cores"])},
        unit="img/s",
        digits=0,
        more={
            "ours ms/img": lambda r: f"{r['ours_cpu_ms_per_image']:.2f}",
            "peer ms/img": lambda r: f"{r['peer_cpu_ms_per_image']:.2f}",
            "pixels differ": lambda r: f"{r['pixel_difference']:.2f}",
        },
        explanation=f"ratio: ours / peer's images per second, {_RATIO}; above 1 ours is faster. From image files in "
        "the page cache to a table of the five likeliest classes. ms/img: CPU time of all threads and processes. "
        "pixels differ: mean absolute difference of the networks' inputs, in levels of 0 to 255.",
    ),
    "remote": Layout(
        what={
            "line": lambda r: f"{r['line_mb']:g} MB/s, {r['line_ms']:g} ms",
            "epoch": lambda r: str(r["epoch"]),
        },
        unit="MB/s",
        digits=1,
        more={},
        explanation=f"ratio: ours / peer's megabytes of records per second, {_RATIO}; above 1 ours is faster. Epoch 1 "
        "begins with an empty cache and ends with the last batch; epoch 2 follows, from the page cache. line: the "
        "file's bytes by 16 processes of curl through the same proxy. Loading alone, without a training step.",
    ),
    "augment": Layout(
        what={"what": lambda r: str(r["what"]), **_PX, **_BATCH},
        unit="img/s",
        digits=0,
        more={"how": lambda r: str(r["how"])},
        explanation=f"ratio: ours / peer's images per second, {_RATIO}; above 1 ours is faster. how: the way in which "
        "the peer is used. From a batch on the device to the normalised batch that a step takes: ours from normalised "
        "float32, a decision for each image; torchvision from uint8 levels, kornia from float32 ones.",
    ),
    "techniques": Layout(
        what={**_PX, "precision": lambda r: str(r["precision"]), **_BATCH},
        unit="s",
        digits=3,
        more={"options": lambda r: " ".join(f"{key}={value}" for key, value in r["options"].items())},
        explanation="seconds of a training step, augmentation included. ratio: with the technique / without, "
        f"{_RATIO}; above 1 it costs time.",
    ),
}


def _on(switch: bool) -> str:
    return "on" if switch else "off"


def _overhead(ratio: Mapping[str, float]) -> str:
    found = overhead(ratio)
    return f"{100 * found['median']:.2f}% [{100 * found['low']:.2f}, {100 * found['high']:.2f}]"
