"""What is put right before and during training on a CPU; each in a process of its own, since it lasts."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def _python(code: str, **environment: str) -> str:
    clean = {
        key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


SPIN = "import os, sys; from engine.train.ranks.process import limit_spinning; limit_spinning()\n"


def test_spinning_is_limited_without_importing_torch() -> None:
    assert _python(SPIN + "print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)") == "10000 False"


@pytest.mark.parametrize("chosen", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}])
def test_wait_policy_of_the_user_is_kept(chosen: dict[str, str]) -> None:
    printed = _python(SPIN + "print(os.environ.get('GOMP_SPINCOUNT'))", **chosen)
    assert printed == chosen.get("GOMP_SPINCOUNT", "None")


FAULTS = """
import resource, torch
from engine.train.ranks.process import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
for step in range(20):
    if step == 10:  # by then the heap is as large as it gets
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(12 * 2**20)  # 48 MiB: above any threshold that glibc would adapt by itself
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's behaviour")
def test_freed_memory_is_reused_without_page_faults() -> None:
    given_back, kept = (int(_python(FAULTS.format(keep=keep))) for keep in (False, True))
    assert kept < given_back / 10
