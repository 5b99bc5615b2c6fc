"""numba's `njit` as our kernels want it: without the GIL, and cached on disk wherever that is possible.

numba's own cache notices a change of a kernel's own file only. A kernel that calls another file's would go on using
what that file was, and make other pixels than the source says; so the cache's folder is named by a fingerprint of
all files that kernels lie in. It is made beside them, else under the user's cache folder; where neither can be
written (a read-only installation in a container without a home) kernels are compiled at each start.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import njit

from engine.files import user_cache

_FOLDER = Path(__file__).resolve().parent


def kernel(function: Callable[..., Any]) -> Any:
    """Decorator: `function` compiled on first use, without the GIL."""
    folder = cache_folder()
    if folder is None:
        return njit(nogil=True)(function)
    # numba reads this when it makes the decorated function, and other users of numba shall not find it changed.
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
    try:
        return njit(nogil=True, cache=True)(function)
    finally:
        numba.config.CACHE_DIR = before


@cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept, made if missing; None where nothing can be written."""
    sources = b"".join(path.read_bytes() for path in sorted(_FOLDER.rglob("*.py")))
    name = f"kernels-{hashlib.sha256(sources).hexdigest()[:12]}"
    chosen = numba.config.CACHE_DIR
    own = user_cache()
    usual = [_FOLDER / "__pycache__", *([own] if own else [])]
    for parent in [Path(chosen)] if chosen else usual:
        try:
            (parent / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(parent / name, os.W_OK):
            for old in parent.glob("kernels-*"):
                if old.name != name:
                    shutil.rmtree(old, ignore_errors=True)
            return parent / name
    return None
