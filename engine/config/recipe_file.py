"""Reads a recipe's YAML: plain words stay text, and a file is preceded by the file it names as `base:`.

PyYAML's own conversions (`1e-4` to text, `010` to eight, `no` to false, `1:30` to ninety) and its silence about a key
given twice are switched off: a word means the same as on the command line.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from engine.config.installation import RECIPES
from engine.errors import UserError, describe_os_error
from engine.registry import nearest


def find_recipe_file(name: str, root: Path = RECIPES) -> Path:
    """The file of this path, else of this path in the project's folder, else the project's recipe of this name.

    `.yaml` may be left out. Raises UserError if there is none, or more than one.
    """
    paths = [path for words in (name, f"{name}.yaml") for path in (Path(words), root / words)]
    try:
        # Also a pipe, as of `-C <(...)`.
        if path := next((path for path in paths if path.exists() and not path.is_dir()), None):
            return path
    except OSError as error:
        raise describe_os_error(error, name, "read the recipe") from None
    shelf = sorted(root.glob("*_configs/*.yaml"))
    found = [path for path in shelf if name in (path.stem, path.name)]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(str(path.relative_to(root)) for path in found)
        raise UserError(f"{name!r} is the name of several recipes: choose one of {several}")
    if folder := next((path for path in paths if path.is_dir()), None):
        raise UserError(f"cannot read the recipe {folder}: it is a folder; give the file in it")
    hint = nearest(Path(name).stem, [path.stem for path in shelf])
    raise UserError(
        f"cannot read the recipe {name}: it does not exist as a file{hint}: check the path, or give a name that "
        "`python -m engine recipes` lists"
    )


def with_bases(path: Path, seen: tuple[Path, ...] = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(path, content) of the file and of its bases, the outermost base first. Raises UserError."""
    if path.resolve() in seen:
        raise UserError(f"{path} builds on itself: remove a `base:` line")
    content = _read_yaml(path)
    base = content.pop("base", None)
    if base is not None:
        if not isinstance(base, str):
            raise UserError(f"`base:` in {path} is not a file name: write base: FILE.yaml")
        yield from with_bases(path.parent / base, (*seen, path.resolve()))
    yield path, content


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _TextLoader)
    except OSError as error:
        raise describe_os_error(error, path, "read the recipe") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).replace('in "<unicode string>", ', "at ").split())
        raise UserError(f"{path} can't be read as YAML: {reason}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a recipe: it has to hold sections such as `training:`")
    return content


class _TextLoader(yaml.SafeLoader):
    """YAML in which plain words stay text, an empty value is None, and a key may be given only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is given twice", key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
