"""The one place where ffcv is first imported, because its import changes the process.

`import ffcv` sets torch's and numba's thread counts to 1 as a side effect, which would slow training on
the CPU without a word. Any module under engine/data/ that uses ffcv imports this module first.
"""

import numba
import torch

_torch_threads, _numba_threads = torch.get_num_threads(), numba.get_num_threads()
try:
    import ffcv  # noqa: F401  (imported for its side effects, which end here)
finally:
    torch.set_num_threads(_torch_threads)
    numba.set_num_threads(_numba_threads)
