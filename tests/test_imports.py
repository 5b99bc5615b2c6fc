"""Every module imports, in a fresh process and without a warning, on whatever torch and NumPy are installed."""

import subprocess
import sys
from pathlib import Path

import pytest

EVERY_MODULE = """
import importlib, pkgutil, sys, warnings
import engine, benchmarks
# What the libraries warn of among themselves is not ours to mend.
warnings.filterwarnings("error", module=r"(engine|benchmarks)\\b")
missing = []
for package in (engine, benchmarks):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        # Programs, and the C library, which is no module.
        if found.name.endswith(("__main__", "demo_script")) or "-" in found.name:
            continue
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            # A peer's library; ours are all there.
            if not found.name.startswith("benchmarks.sides.") or error.name.startswith(("engine", "benchmarks")):
                missing.append(f"{found.name}: {error}")
print("\\n".join(missing))
"""


@pytest.mark.slow
def test_every_module_imports_without_a_warning(repository: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", EVERY_MODULE], cwd=repository, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr + run.stdout
