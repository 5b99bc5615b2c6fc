"""Imports inside engine/ point one way only, without circles, and two packages stay behind their one door.

    system <- streams, limits, devices <- errors <- files, registry, progress <- triton_support <- config <- runs
    <- data | models | knowledge <- train <- report <- recipes, plan, predict, audit, average
    <- demo <- export <- cli and entry points

data, models and knowledge know nothing of each other, nor do recipes, plan, predict, audit and average. Any other
module directly in engine/ (__main__, ...) is an entry point: it may import everything below and nothing below may
import it.
fastargs is imported in engine/config/load.py alone; ffcv in engine/data/fields/, the doctor and benchmarks/ alone.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

RANKS = {
    "system": -3,
    **dict.fromkeys(("streams", "limits", "devices"), -2),
    "errors": -1,
    **dict.fromkeys(("files", "registry", "progress"), 0),
    **dict.fromkeys(("triton_support", "without_compiler"), 1),
    "config": 2,
    "runs": 3,
    **dict.fromkeys(("data", "models", "knowledge"), 4),
    "train": 5,
    "report": 6,
    **dict.fromkeys(("recipes", "plan", "predict", "audit", "average"), 7),
    "demo": 8,
    "export": 9,
}
VERB = 10
DOORS = {
    "fastargs": ("engine/config/load.py",),
    "ffcv": ("engine/data/fields/", "engine/cli/doctor.py", "benchmarks/"),
}

MOST_FILES = 12
MORE_FILES = {"engine/cli": "one file for each verb", "engine/config/train": "one file for each section"}
"""Folders that may hold more, and why."""

SAME_NAMES = ("engine/cli/", "engine/config/train/")
"""A verb and its implementation, and a section of the YAML and what it is about, may have one name."""
NAMED_BEFORE = {"engine/data/fields/yuv420.py"}
"""An import path that users' scripts have."""


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


def arrows(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Which modules each module of engine/ imports as it is imported itself, by dotted names."""
    modules = {_dotted(path): path for path in sources if path.startswith("engine/")}
    found: dict[str, set[str]] = defaultdict(set)
    for module, path in modules.items():
        for node in _at_import(ast.parse(sources[path])):
            for _, name in imported(ast.Module([node], []), PurePosixPath(path).parts[:-1]):
                # Of `from a.b import c`: the module a.b.c, else a.b.
                other = name if name in modules else name.rpartition(".")[0]
                if other in modules and other != module:
                    found[module].add(other)
    return found


def _dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _at_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """The imports that run when the module is imported: in no function, and not for a type checker alone."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            pending += [child for child in ast.walk(node) if isinstance(child, (ast.Import, ast.ImportFrom))]


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of a circle of imports, or nothing."""
    done: set[str] = set()

    def search(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for other in sorted(graph.get(module, ())):
            if found := search(other, [*path, module]):
                return found
        done.add(module)
        return []

    return next(filter(None, (search(module, []) for module in sorted(graph))), [])


@pytest.fixture(scope="module")
def sources(repository: Path) -> dict[str, str]:
    files = [
        *repository.glob("engine/**/*.py"),
        *repository.glob("benchmarks/**/*.py"),
        *repository.glob("*.py"),
    ]
    found = {file.relative_to(repository).as_posix(): file.read_text(encoding="utf-8") for file in files}
    assert len([path for path in found if path.startswith("engine/")]) > 200
    return found


def test_imports_point_one_way(sources: dict[str, str]) -> None:
    assert violations(sources) == []


def test_no_modules_import_each_other(sources: dict[str, str]) -> None:
    """Without circles each module can be imported first: in a script, a worker process, a test."""
    graph = arrows(sources)
    assert sum(map(len, graph.values())) > 500
    assert circle(graph) == []


def test_no_folder_holds_too_many_files(sources: dict[str, str]) -> None:
    counted: dict[str, int] = defaultdict(int)
    for path in sources:
        folder, _, name = path.rpartition("/")
        if folder.startswith("engine") and name != "__init__.py":
            counted[folder] += 1
    too_many = {folder for folder, count in counted.items() if count > MOST_FILES}
    assert too_many == set(MORE_FILES)


def test_file_names_are_unique(sources: dict[str, str]) -> None:
    """A name in an error or a search leads to one file."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in sources:
        name = path.rpartition("/")[2]
        if path.startswith("engine/") and name != "__init__.py" and path not in NAMED_BEFORE:
            by_name[name].append(path)
    twice = {
        name: paths
        for name, paths in by_name.items()
        if sum(not path.startswith(SAME_NAMES) for path in paths) > 1 or len(paths) > 2
    }
    assert twice == {}


GOOD = {
    "engine/__init__.py": "__version__ = '1'",
    "engine/errors.py": "import sys",
    "engine/registry.py": "from engine.errors import UserError",
    "engine/config/load.py": "import fastargs\nfrom engine.registry import Registry\nfrom . import schema",
    "engine/config/train/train_config.py": "import engine\nfrom engine import __version__",
    "engine/runs/run_writer.py": "from engine.config import load",
    "engine/data/fields/yuv420.py": "import ffcv.fields",
    "engine/data/loading/loader.py": "from engine.config.train.train_config import Data",
    "engine/models/build.py": "from ..config import schema\nfrom engine.runs import run_writer",
    "engine/train/trainer.py": "from engine.data import loader\nimport engine.models.build",
    "engine/report/run/run_page.py": "def late():\n    from engine.train import trainer",
    "engine/audit/network.py": "from engine.report import text",
    "engine/cli/doctor.py": "import ffcv.libffcv\nfrom engine.report import html\nimport engine.audit.network",
    "engine/__main__.py": "from engine import doctor",
    "benchmarks/loader.py": "import ffcv\nfrom engine.data import loader",
    "train_imagenet.py": "from engine.train import trainer",
}


def test_clean_tree_has_no_violation() -> None:
    assert violations(GOOD) == []
    assert circle(arrows(GOOD)) == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("engine/errors.py", "from engine.registry import nearest"),
        ("engine/registry.py", "import engine.config.train.train_config"),
        ("engine/config/train/train_config.py", "from engine.data.loading.loader import Loader"),
        ("engine/config/load.py", "from engine.runs import run_writer"),
        ("engine/runs/run_writer.py", "from engine.train.trainer import Trainer"),
        ("engine/runs/run_writer.py", "from engine.report.run import run_page"),
        ("engine/data/loading/loader.py", "from engine import models"),
        ("engine/models/build.py", "from engine.data import loader"),
        ("engine/models/build.py", "from ..data.loader import Loader"),
        ("engine/models/build.py", "from .. import data"),
        ("engine/data/loading/loader.py", "from engine.train.trainer import Trainer"),
        ("engine/train/trainer.py", "def late():\n    import engine.report.run.run_page"),
        ("engine/report/run/run_page.py", "from engine.audit import network"),
        ("engine/audit/network.py", "from engine.cli.doctor import Finding"),
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
def test_checker_sees_a_bad_import(path: str, line: str) -> None:
    bad = {**GOOD, path: GOOD[path] + "\n" + line}
    found = violations(bad)
    assert len(found) == 1
    assert found[0].startswith(f"{path}:")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from engine.train.trainer import Trainer", True),
        ("if True:\n    import engine.train.trainer", True),
        ("class A:\n    from engine.train import trainer", True),
        ("def late():\n    from engine.train import trainer", False),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from engine.train import trainer", False),
    ],
)
def test_checker_sees_a_circle(line: str, found: bool) -> None:
    bad = {**GOOD, "engine/train/step.py": line}
    bad["engine/train/trainer.py"] += "\nfrom engine.train.step import Step"
    names = ["engine.train.step", "engine.train.trainer", "engine.train.step"]
    assert circle(arrows(bad)) == (names if found else [])
