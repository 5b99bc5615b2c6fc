"""Where ffcv's compiled library lies, which has TurboJPEG's functions; found without importing ffcv."""

import importlib.util
from functools import cache
from pathlib import Path


@cache
def ffcv_library() -> Path | None:
    """Its path; None where ffcv is not installed."""
    package = importlib.util.find_spec("ffcv")
    folders = package.submodule_search_locations if package else None
    return next((path for folder in folders or () for path in Path(folder).glob("_libffcv*.so")), None)
