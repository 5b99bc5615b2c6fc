"""YAML files and the command line -> a checked configuration. The only file that imports fastargs.

fastargs merges the sources. What it lets pass is caught here: unknown keys, values of the wrong type,
empty values, its reading of environment variables (which it would put above the command line), and its
exit code 0 on a bad configuration. What PyYAML would make of a plain word (`1e-4` text, `010` eight, `no`
false, `1:30` ninety, the second of two equal keys the only one) is caught too: words stay text, and mean
what they mean on the command line. A recipe may name the file it builds on with a top-level `base:`,
relative to itself; later files and then the command line win.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from fastargs import Config, Param, Section
from fastargs.validation import Checker

from engine.config.options import OptionSpec, options_of
from engine.config.schema import TrainConfig
from engine.config.write_schema import WriteConfig
from engine.errors import UserError, describe_os_error
from engine.registry import nearest

C = TypeVar("C", TrainConfig, WriteConfig)

# What ffcv-imagenet's users will try, and what to do instead.
_GONE = {
    "training.distributed": "processes are started by torchrun --nproc-per-node=N; nothing to set",
    "dist.world_size": "processes are started by torchrun --nproc-per-node=N; nothing to set",
    "dist.address": "processes are started by torchrun; see its --rdzv-endpoint",
    "dist.port": "processes are started by torchrun; see its --rdzv-endpoint",
    "training.bn_wd": "norms and biases are never decayed; nothing to set",
    "model.pretrained": "weights are read from a file: model.weights",
    "data.gpu": "the GPU is chosen by CUDA_VISIBLE_DEVICES and torchrun",
}


def load_train_config(argv: Sequence[str]) -> tuple[TrainConfig, str]:
    """The run that `argv` asks for, and its recipe's name ("run" without one). Raises UserError."""
    return _load(TrainConfig, argv, "Train an image classifier on .beton files; a recipe is given with -C.")


def load_write_config(argv: Sequence[str]) -> WriteConfig:
    """The conversion that `argv` asks for. Raises UserError."""
    return _load(WriteConfig, argv, "Convert a data set of images into train.beton and val.beton.")[0]


def to_dict(config: TrainConfig | WriteConfig) -> dict[str, dict[str, Any]]:
    """section -> option -> value, as it can be written to YAML and read back."""
    sections = type(config).__dataclass_fields__
    return {
        name: {key: getattr(getattr(config, name), key) for key in options_of(type(getattr(config, name)))}
        for name in sections
    }


def _load(schema: type[C], argv: Sequence[str], description: str) -> tuple[C, str]:
    config = _GuardedConfig(schema, argv)
    config.collect_argparse_args(_build_parser(schema, description))
    values = {path: _parse(config.specs, ".".join(path), value) for path, value in config.content.items()}
    sections = {
        name: section(**{path[1]: value for path, value in values.items() if path[0] == name})
        for name, section in _sections(schema).items()
    }
    recipe = Path(config.files[-1]).stem if config.files else "run"
    return schema(**sections), recipe


def _build_parser(schema: type, description: str) -> argparse.ArgumentParser:
    parser = _Parser(
        description=description,
        epilog="Later files win over earlier ones, and the command line over all files.",
        allow_abbrev=False,
    )
    file_help = "recipe in YAML; may be given several times, and may name the file it builds on as `base:`"
    parser.add_argument("-C", "--config-file", action="append", default=[], metavar="FILE", help=file_help)
    for name, section in _sections(schema).items():
        group = parser.add_argument_group(name, section.__doc__)
        for key, spec in options_of(section).items():
            default = "" if spec.default == "" else f" [default: {spec.default}]"
            text = f"{spec.help} ({spec.constraint()}){default}".replace("%", "%%")
            group.add_argument(f"--{name}.{key}", metavar=spec.type.__name__.upper(), help=text)
    return parser


def _sections(schema: type) -> dict[str, Any]:
    return {name: field.default_factory for name, field in schema.__dataclass_fields__.items()}  # type: ignore[attr-defined]


def _parse(specs: Mapping[tuple[str, ...], OptionSpec], key: str, value: Any, where: str = "") -> Any:
    try:
        return specs[tuple(key.split("."))].parse(value)
    except ValueError as error:
        raise UserError(f"{key}: {error}{where}") from None


class _Parser(argparse.ArgumentParser):
    """argparse, with a mistake on the command line as one line instead of the whole usage text."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


class _Check(Checker):
    """An option's spec in the form that fastargs wants."""

    def __init__(self, spec: OptionSpec) -> None:
        self.spec = spec

    def check(self, value: Any) -> Any:
        return self.spec.parse(value)

    def help(self) -> str:
        return self.spec.constraint()


class _GuardedConfig(Config):
    """fastargs' Config over our schema, with each of its silent paths closed."""

    def __init__(self, schema: type, argv: Sequence[str]) -> None:
        super().__init__()
        self.argv = list(argv)
        self.files: list[str] = []
        self.specs: dict[tuple[str, ...], OptionSpec] = {}
        for name, section in _sections(schema).items():
            specs = options_of(section)
            params = {
                key: Param(_Check(spec), spec.help, default=spec.default) for key, spec in specs.items()
            }
            Section(name, config_descriptor=self).params(**params)
            self.specs.update({(name, key): spec for key, spec in specs.items()})

    def collect_env_variables(self) -> "_GuardedConfig":
        return self

    def collect_argparse_args(
        self, parser: argparse.ArgumentParser, disable_help: bool = False
    ) -> "_GuardedConfig":
        known, extra = parser.parse_known_args(self.argv)
        for word in extra:
            if not word.startswith("-"):
                raise UserError(
                    f"unexpected {word!r}: a recipe is given as -C FILE, an option as --a.b=VALUE"
                )
            self._refuse_unknown(word.removeprefix("--").split("=")[0], "on the command line")
        given = {
            key: value for key, value in vars(known).items() if key != "config_file" and value is not None
        }
        self.files = known.config_file
        for name in known.config_file:
            self.collect_config_file(name)
        self.collect(given)
        return self

    def collect_config_file(self, fname: str) -> "_GuardedConfig":
        for path, content in _with_bases(Path(fname)):
            options: dict[str, Any] = {}
            for key, value in self._flatten(content, path):
                if tuple(key.split(".")) not in self.specs:
                    self._refuse_unknown(key, f"in {path}")
                if value is None:
                    raise UserError(f"{key} has no value in {path}: give it one or delete the line")
                if key in options:
                    raise UserError(f"{key} is given twice in {path}: delete one of the lines")
                options[key] = _parse(self.specs, key, value, f" (in {path})")
            self.collect(options)
        return self

    def _flatten(self, content: dict[Any, Any], file: Path) -> Iterator[tuple[str, Any]]:
        """(dotted name, value) of all that a file says; what is deeper than section and option is a value."""
        sections = {section for section, _ in self.specs}
        for key, value in content.items():
            if isinstance(value, dict):
                yield from ((f"{key}.{name}", inner) for name, inner in value.items())
            elif key not in sections:
                yield str(key), value
            elif value is not None:
                raise UserError(
                    f"{key!r} in {file} is a section: put its options, indented, on lines below it"
                )

    def _refuse_unknown(self, key: str, where: str) -> NoReturn:
        if key in _GONE:
            raise UserError(f"option {key!r} {where} does not exist here: {_GONE[key]}")
        names = [".".join(path) for path in self.specs]
        of_other_section = [name for name in names if name.split(".")[1] == key.split(".")[-1]]
        hint = nearest(key, of_other_section) or nearest(key, names) or "; --help lists all"
        raise UserError(f"unknown option {key!r} {where}{hint}")


def _with_bases(path: Path, seen: tuple[Path, ...] = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The file's content behind that of the file it names as `base:`, if any; the outermost base first."""
    if path.resolve() in seen:
        raise UserError(f"{path} is its own base: remove a `base:` line")
    content = _read_yaml(path)
    base = content.pop("base", None)
    if base is not None:
        if not isinstance(base, str):
            raise UserError(f"`base:` in {path} is not the name of one file")
        yield from _with_bases(path.parent / base, (*seen, path.resolve()))
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
