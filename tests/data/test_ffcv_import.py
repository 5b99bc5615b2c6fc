"""Importing ffcv leaves the process as it was."""

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import torch, numba
torch.set_num_threads(3)
before = numba.get_num_threads()
import engine.data.ffcv_import, sys
assert "ffcv" in sys.modules
assert torch.get_num_threads() == 3, torch.get_num_threads()
assert numba.get_num_threads() == before, numba.get_num_threads()
"""


@pytest.mark.slow
def test_thread_counts_survive_the_import() -> None:
    # In a process of its own, since ffcv may have been imported into this one long ago.
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=root, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
