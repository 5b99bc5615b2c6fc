"""tjbench, libjpeg-turbo's own benchmark, on given JPEG data: the speed of a decoder that does nothing else.

It decodes each image whole, to RGB, in one thread on the first core of this process.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine.errors import UserError

_LINE = re.compile(r"^RGB\b.*?(\d+)\s+(\d+)\s+N/A\s+N/A\s+([\d.]+)\s*$", re.M)


def is_there() -> bool:
    """Whether the program is installed."""
    return shutil.which("tjbench") is not None


def megapixels_per_second(jpegs: Sequence[bytes], seconds: float) -> float:
    """Million pixels per second over all files; each is decoded for `seconds`.

    Raises UserError where tjbench refuses one.
    """
    core = min(os.sched_getaffinity(0))
    pixels = took = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for jpeg in jpegs:
            path = Path(folder, "image.jpg")
            path.write_bytes(jpeg)
            options = [
                "-rgb",
                "-quiet",
                "-nowrite",
                "-benchtime",
                f"{seconds:g}",
                "-warmup",
                f"{seconds / 5:g}",
            ]
            # taskset's job, without a program more: the child inherits what this thread may use.
            before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {core})
            try:
                done = subprocess.run(
                    ["tjbench", str(path), *options], capture_output=True, text=True, check=False
                )
            finally:
                os.sched_setaffinity(0, before)
            found = _LINE.search(done.stdout)
            if done.returncode or found is None:
                raise UserError(f"tjbench failed: {' '.join((done.stderr or done.stdout).split())[:200]}")
            width, height, rate = int(found[1]), int(found[2]), float(found[3])
            pixels += width * height / 1e6
            took += width * height / 1e6 / rate
    return pixels / took
