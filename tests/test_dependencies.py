"""What the engine imports at its start is what `make setup` installs, nothing that the tests alone have."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = {"engine", "benchmarks", "train_imagenet", "write_dataset"}

# Module -> distribution, where the names differ.
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "yaml": "pyyaml", "PIL": "pillow"}

# Triton comes with torch's CUDA builds, llvmlite with numba.
BROUGHT = {"triton": "torch", "llvmlite": "numba"}


def _imported(nodes: list[ast.stmt]) -> Iterator[str]:
    """Top names of modules that are imported when the module is; not those under TYPE_CHECKING or in functions."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
        elif (
            isinstance(node, ast.If | ast.With | ast.ClassDef)
            and "TYPE_CHECKING" not in ast.unparse(node)[:40]
        ):
            yield from _imported(node.body)


def _declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {line.split(">")[0].split("=")[0].strip() for line in project["dependencies"]}


def test_engine_imports_declared_distributions_only() -> None:
    files = [ROOT / "train_imagenet.py", ROOT / "write_dataset.py", *sorted((ROOT / "engine").rglob("*.py"))]
    # A package's own code is imported when such a package is proven, and what it needs is looked for before.
    files = [file for file in files if file.parent.name != "package_code" or file.name == "example.py"]
    # The demo's page runs within streamlit alone.
    files.remove(ROOT / "engine/demo/demo_page.py")
    unknown = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in files
        for name in _imported(ast.parse(file.read_text(encoding="utf-8")).body)
        if name not in sys.stdlib_module_names | OURS
        and DISTRIBUTIONS.get(name, BROUGHT.get(name, name.replace("_", "-"))) not in _declared()
    }
    assert unknown == set()
