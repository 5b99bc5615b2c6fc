"""Where this program's own files are: a checkout of the repository, or a package that pip installed."""

import importlib.metadata
import sys
import tomllib
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
"""The folder that holds `engine/`, train_imagenet.py and write_dataset.py: the checkout, or site-packages."""

IS_CHECKOUT = (SOURCE / "pyproject.toml").is_file()

RECIPES = SOURCE if IS_CHECKOUT else SOURCE / "engine" / "recipe_files"
"""The folder that holds rn50_configs/ and the other folders of recipes."""

WORK = SOURCE if IS_CHECKOUT else Path.cwd()
"""Where `speedrun` keeps data/ and runs/: in the checkout, or in the folder where it was started."""

REINSTALL = "run `make setup`" if IS_CHECKOUT else "install the wheel again with what it needs (pip, uv)"
"""Advice for a package that is missing or too old."""

OLDER_TORCH = (
    "`make setup SET=lower`" if IS_CHECKOUT else "`pip install torch==2.7.1 torchvision==0.22.1`, or uv's"
)
"""What installs the oldest torch supported, which is built for CUDA 12.6."""
NEWEST_TORCH = "`make setup SET=default`" if IS_CHECKOUT else "`pip install --upgrade torch torchvision`"


def requirements() -> list[str]:
    """What has to be installed beside this program, as in pyproject.toml; an extra's packages have a marker."""
    if IS_CHECKOUT:
        text = (SOURCE / "pyproject.toml").read_text(encoding="utf-8")
        return list(tomllib.loads(text)["project"]["dependencies"])
    return importlib.metadata.requires("imagenet-engine") or []


def command_of(script: str, *options: str) -> list[str]:
    """What starts train_imagenet.py or write_dataset.py with this Python, in any folder.

    An installed one is a module that Python finds itself; -P keeps the files of the present folder out of its way.
    """
    start = [str(SOURCE / script)] if IS_CHECKOUT else ["-P", "-m", script.removesuffix(".py")]
    return [sys.executable, *start, *options]


TRAIN = "python train_imagenet.py" if IS_CHECKOUT else "train-imagenet"
CONVERT = "python write_dataset.py" if IS_CHECKOUT else "write-dataset"
"""The two programs in commands that are printed for the user."""
