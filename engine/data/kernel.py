"""numba's `njit` as our kernels want it: without the GIL, and cached on disk wherever that is possible.

The cache lies in `__pycache__` beside the kernel's file, else under the user's cache folder. numba refuses to
import a cached kernel where neither can be written (a read-only installation in a container without a home);
such a place compiles at each start instead.
"""

from collections.abc import Callable
from typing import Any

from numba import njit


def kernel(function: Callable[..., Any]) -> Any:
    """Decorator: `function` compiled on first use, without the GIL.

    The cache notices a change of the kernel's own file only: whoever changes a constant or a C function that
    a kernel takes from another file must touch the kernel's file too.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return njit(nogil=True)(function)
