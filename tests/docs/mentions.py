"""Files, folders and modules that prose names: in comments, docstrings and Markdown pages of the repository."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

_TOP = "engine|benchmarks|tests|docs|scripts|requirements|cifar_configs|rn18_configs|rn50_configs"

# `reader.py` or `beton/reader.py`. Not the tail of a longer word, of a URL or of a placeholder.
_FILE = re.compile(r"(?<![\w./*<>{}$@-])((?:[\w-]+/)*[\w-]+\.(?:py|pyi|c|h|md|sh))(?![\w/])")
# `engine/data/beton` or `tests/data/`, but no placeholder such as `rn50_configs/*.yaml` and no file: those are above.
_FOLDER = re.compile(rf"(?<![\w./*<>{{}}$@-])((?:{_TOP})/(?:[\w-]+/)*+[\w-]*+)(?![*<{{]|\.\w)")
# `engine.data.beton.reader` or `engine.data.beton.reader.Beton`.
_MODULE = re.compile(r"(?<![\w./-])((?:engine|benchmarks|tests)(?:\.[A-Za-z_]\w*)+)(?![\w*/])")

# NAME.py stands for any file.
_PLACEHOLDER = re.compile(r"(?:^|/)[A-Z_]+\.(?:py|c|h)$")

_HASH_COMMENT = re.compile(r"(?:^|\s)#(.*)")
_C_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def tracked_files(root: Path) -> list[str]:
    """Paths of all files that git tracks or would add, relative to `root`, and that are there."""
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted({path for path in listed.split("\0") if path and (root / path).is_file()})


def prose(path: str, text: str) -> Iterator[tuple[int, str]]:
    """(line number, text) of each piece of prose in a file; nothing for a kind of file that has none."""
    suffix = Path(path).suffix
    if suffix == ".py":
        yield from _python_prose(text)
    elif suffix in (".c", ".h"):
        for match in _C_COMMENT.finditer(text):
            first = text.count("\n", 0, match.start()) + 1
            yield from enumerate(match.group().splitlines(), start=first)
    elif suffix == ".md":
        yield from enumerate(text.splitlines(), start=1)
    elif suffix in (".yaml", ".yml", ".sh", ".toml") or Path(path).name in ("Makefile", "run"):
        for number, line in enumerate(text.splitlines(), start=1):
            if comment := _HASH_COMMENT.search(line):
                yield number, comment.group(1)


def _python_prose(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        # A string that stands alone is a docstring, or the note under a field or constant.
        match node:
            case ast.Expr(value=ast.Constant(value=str() as value)):
                yield from enumerate(value.splitlines(), start=node.lineno)


_IMPORT = re.compile(
    r"\bfrom ((?:engine|benchmarks|tests)[\w.]*) import (\w+)|\bimport ((?:engine|benchmarks|tests)\.[\w.]+)"
)


def imports_in_strings(text: str) -> Iterator[tuple[int, str]]:
    """(line number, dotted name) of what code in the strings of a Python file imports from the repository."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Constant(value=str() as value):
                for module, name, whole in _IMPORT.findall(value):
                    yield node.lineno, whole or f"{module}.{name}"


class Repository:
    """The files of a repository, by which the names in a text are judged."""

    def __init__(self, root: Path) -> None:
        self.root, self.files = root, tracked_files(root)
        self._ends: set[str] = set()
        self._folders: set[str] = set()
        for path in self.files:
            parts = path.split("/")
            self._ends.update("/".join(parts[start:]) for start in range(len(parts)))
            self._folders.update("/".join(parts[:stop]) for stop in range(1, len(parts)))

    def missing(self, text: str) -> list[str]:
        """The files, folders and modules that `text` names and that the repository does not have."""
        files = [
            name for name in _FILE.findall(text) if name not in self._ends and not _PLACEHOLDER.search(name)
        ]
        folders = [name for name in _FOLDER.findall(text) if not self._has_folder(name)]
        modules = [name for name in _MODULE.findall(text) if not self._has_module(name)]
        return list(dict.fromkeys([*files, *folders, *modules]))

    def has_module(self, dotted: str) -> bool:
        """Whether it is a module, a package, or something that a module's text names."""
        return self._has_module(dotted)

    def may_be_new(self, name: str) -> bool:
        """Whether `name`, which is missing, could be a file that somebody adds: its folder is there."""
        parent = name.rpartition("/")[0] if "/" in name or name.endswith(".py") else name.rpartition(".")[0]
        return parent.replace(".", "/") in {*self._folders, ""}

    def _has_folder(self, name: str) -> bool:
        name = name.rstrip("/")
        # What follows the last slash may be the stem of a file that is named without its ending.
        return name in self._folders or name in self._ends or f"{name}.py" in self._ends

    def _has_module(self, dotted: str) -> bool:
        if dotted in self._ends:
            # A file such as engine.h, no module.
            return True
        parts = dotted.split(".")
        for stop in range(len(parts), 0, -1):
            path = "/".join(parts[:stop])
            found = f"{path}.py" if f"{path}.py" in self.files else f"{path}/__init__.py"
            if found in self.files:
                source = (self.root / found).read_text(encoding="utf-8")
                return all(re.search(rf"\b{name}\b", source) for name in parts[stop:])
            if path in self._folders and stop == len(parts):
                return True
        return False
