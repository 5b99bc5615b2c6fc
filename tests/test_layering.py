"""Imports inside engine/ point one way only, and two packages stay behind their one door.

    errors, files <- registry <- config <- data | models <- train <- report <- verbs and entry points

data and models know nothing of each other. Any other module directly in engine/ (doctor, __main__, ...) or a
package named there is a verb: it may import everything below and nothing below may import it. fastargs is
imported in engine/config/load.py alone; ffcv in engine/data/, the doctor and benchmarks/ alone.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

RANKS = {"errors": 0, "files": 1, "registry": 1, "config": 2, "data": 3, "models": 3, "train": 4, "report": 5}
VERB = 6
DOORS = {
    "fastargs": ("engine/config/load.py",),
    "ffcv": ("engine/data/", "engine/cli/doctor.py", "benchmarks/"),
}


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, wherever it stands; relative ones start from `package`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *(node.module.split(".") if node.module else ())))
            for alias in node.names:
                # `from engine import data` imports engine.data: the name counts as a part of the path.
                yield node.lineno, f"{module}.{alias.name}"


def part_of(dotted: str) -> str | None:
    """Which part of engine/ a dotted name lies in; None for the bare package and for other packages."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "engine" and len(parts) > 1 else None


def violations(sources: Mapping[str, str]) -> list[str]:
    """One line for each import that breaks the rule. `sources` is text by path relative to the repository."""
    parts = {
        PurePosixPath(path).parts[1].removesuffix(".py") for path in sources if path.startswith("engine/")
    }
    found = []
    for path, text in sources.items():
        where = PurePosixPath(path).parts
        own = where[1].removesuffix(".py") if where[0] == "engine" else None
        rank = RANKS.get(own, VERB) if own not in (None, "__init__") else VERB
        for line, name in imported(ast.parse(text), where[:-1]):
            top = name.split(".")[0]
            if not path.startswith(DOORS.get(top, ("",))):
                found.append(f"{path}:{line} imports {top}, which only {', '.join(DOORS[top])} may")
            if where[0] == "engine" and top in ("benchmarks", "tests", "write_dataset", "train_imagenet"):
                found.append(f"{path}:{line} imports {top}, which stands above engine/")
            other = part_of(name)
            # Names such as engine.__version__ are no part.
            if own is None or other is None or other == own or other not in parts:
                continue
            if own == "__init__" or (rank < VERB and RANKS.get(other, VERB) >= rank):
                found.append(f"{path}:{line} imports engine.{other}, which is not below engine.{own}")
    return found


def test_imports_point_one_way(repository: Path) -> None:
    files = [
        *repository.glob("engine/**/*.py"),
        *repository.glob("benchmarks/**/*.py"),
        *repository.glob("*.py"),
    ]
    sources = {file.relative_to(repository).as_posix(): file.read_text(encoding="utf-8") for file in files}
    assert len([path for path in sources if path.startswith("engine/")]) > 10
    assert violations(sources) == []


GOOD = {
    "engine/__init__.py": "__version__ = '1'",
    "engine/errors.py": "import sys",
    "engine/registry.py": "from engine.errors import UserError",
    "engine/config/load.py": "import fastargs\nfrom engine.registry import Registry\nfrom . import schema",
    "engine/config/train/train_config.py": "import engine\nfrom engine import __version__",
    "engine/data/loading/loader.py": "import ffcv.loader\nfrom engine.config.train.train_config import Data",
    "engine/models/build.py": "from ..config import schema",
    "engine/train/trainer.py": "from engine.data import loader\nimport engine.models.build",
    "engine/report/run/run_page.py": "def late():\n    from engine.train import trainer",
    "engine/cli/doctor.py": "import ffcv.libffcv\nfrom engine.report import html",
    "engine/__main__.py": "from engine import doctor",
    "benchmarks/loader.py": "import ffcv\nfrom engine.data import loader",
    "train_imagenet.py": "from engine.train import trainer",
}


def test_a_clean_tree_has_no_violation() -> None:
    assert violations(GOOD) == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("engine/errors.py", "from engine.registry import nearest"),
        ("engine/registry.py", "import engine.config.train.train_config"),
        ("engine/config/train/train_config.py", "from engine.data.loading.loader import Loader"),
        ("engine/data/loading/loader.py", "from engine import models"),
        ("engine/models/build.py", "from engine.data import loader"),
        ("engine/models/build.py", "from ..data.loader import Loader"),
        ("engine/models/build.py", "from .. import data"),
        ("engine/data/loading/loader.py", "from engine.train.trainer import Trainer"),
        ("engine/train/trainer.py", "def late():\n    import engine.report.run.run_page"),
        ("engine/report/run/run_page.py", "from engine.cli.doctor import Finding"),
        ("engine/train/trainer.py", "from benchmarks import loader"),
        ("engine/__init__.py", "from engine.errors import UserError"),
        ("engine/train/trainer.py", "import ffcv"),
        ("engine/models/build.py", "from ffcv.fields import RGBImageField"),
        ("train_imagenet.py", "import ffcv"),
        ("train_imagenet.py", "from fastargs import Section"),
        ("engine/config/train/train_config.py", "import fastargs.validation"),
        ("engine/data/loading/loader.py", "import fastargs"),
    ],
)
def test_the_checker_sees_a_bad_import(path: str, line: str) -> None:
    bad = {**GOOD, path: GOOD[path] + "\n" + line}
    found = violations(bad)
    assert len(found) == 1
    assert found[0].startswith(f"{path}:")
