"""A recipe's YAML as it stands: plain words stay text, and a file comes behind the one that it names as `base:`.

What PyYAML would make of a plain word (`1e-4` text, `010` eight, `no` false, `1:30` ninety, the second of two equal
keys the only one) is kept from happening: words mean what they mean on the command line.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from engine.errors import UserError, describe_os_error


def with_bases(path: Path, seen: tuple[Path, ...] = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The file's content behind that of the file it names as `base:`, if any; the outermost base first."""
    if path.resolve() in seen:
        raise UserError(f"{path} is its own base: remove a `base:` line")
    content = _read_yaml(path)
    base = content.pop("base", None)
    if base is not None:
        if not isinstance(base, str):
            raise UserError(f"`base:` in {path} is not the name of one file")
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
        raise UserError(f"{path} is not a recipe: it should hold sections such as `training:`")
    return content


class _TextLoader(yaml.SafeLoader):
    """YAML in which plain words stay text, an empty value is None, and a key may stand only once."""

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
