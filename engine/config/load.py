"""YAML files and the command line -> a checked configuration. The only file that imports fastargs.

fastargs merges the sources. Mistakes that it lets pass are caught here: unknown keys, values of the wrong type,
empty values, its reading of environment variables (which it would put above the command line), and its
exit code 0 on a bad configuration. A recipe may name the file it builds on with a top-level `base:`,
relative to itself; later files override earlier ones, the command line overrides all. Further stages are
listed in a recipe's `then:` (stages.py).
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from fastargs import Config, Param, Section
from fastargs.validation import Checker

from engine.config.options import OptionSpec, options_of, sections_of
from engine.config.recipe_file import find_recipe_file, with_bases
from engine.config.script_help import ScriptParser
from engine.config.stages import CONFIGS_OF_A_RUN, Values, check_stages, refuse_in_stage, stage_values
from engine.config.train.train_config import TrainConfig
from engine.config.write import WriteConfig
from engine.errors import UserError
from engine.registry import nearest

# Options that older runs' config.yaml hold, whether they were used or not: read over.
_OLD = {"training.muon_lr"}

C = TypeVar("C", TrainConfig, WriteConfig)

# Options of ffcv-imagenet that do not exist here, and what to do instead.
_GONE = {
    "training.distributed": "start the processes with torchrun --nproc-per-node=N and drop the option",
    "dist.world_size": "start the processes with torchrun --nproc-per-node=N and drop the option",
    "dist.address": "start the processes with torchrun; see its --rdzv-endpoint",
    "dist.port": "start the processes with torchrun; see its --rdzv-endpoint",
    "training.bn_wd": "norms and biases are never decayed; drop the option",
    "model.pretrained": "give a weights file as model.weights",
    "training.muon_lr": "the optimizer muon was removed; drop the option",
    "data.gpu": "choose the GPU with CUDA_VISIBLE_DEVICES or torchrun",
}


def load_train_config(argv: Sequence[str]) -> tuple[TrainConfig, str]:
    """The configuration for `argv`, and its recipe's name ("run" without one). Raises UserError.

    For a recipe of several stages it is that of the first stage.
    """
    stages, recipe = load_train_stages(argv)
    return stages[0], recipe


def load_train_stages(argv: Sequence[str]) -> tuple[list[TrainConfig], str]:
    """The checked configurations of all stages for `argv`, in order, and the recipe's name. Raises UserError.

    A stage starts from model.weights. From the second stage on that is a path inside the run's folder: the file that
    the stage before writes, such as stage1/weights.pt. Stages before training.first_stage are in the list, but must
    not be run. With training.eval_only the list holds one configuration: the last stage's, with the weights to
    validate.
    """
    description = "Train an image classifier on .beton files, by the recipe given with -C."
    config = _collect(TrainConfig, argv, ScriptParser(TrainConfig, "train_imagenet.py", description))
    several = stage_values(config.in_files, config.then, config.on_line)
    stages = []
    for number, values in enumerate(several, start=1):
        try:
            stages.append(_build(TrainConfig, values))
        except UserError as error:
            raise (UserError(f"in stage {number}: {error}") if len(several) > 1 else error) from None
    check_stages(stages)
    return stages, config.recipe


def load_write_config(argv: Sequence[str]) -> WriteConfig:
    """The configuration of the conversion for `argv`. Raises UserError."""
    description = "Convert a data set of images into train.beton and val.beton."
    config = _collect(WriteConfig, argv, ScriptParser(WriteConfig, "write_dataset.py", description))
    return _build(WriteConfig, {**config.in_files, **config.on_line})


def to_dict(config: TrainConfig | WriteConfig) -> dict[str, dict[str, Any]]:
    """section -> option -> value; written as YAML, it can be read back with -C."""
    return {
        name: {key: getattr(getattr(config, name), key) for key in options_of(section)}
        for name, section in sections_of(type(config)).items()
    }


def _collect(schema: type, argv: Sequence[str], parser: ScriptParser) -> "_GuardedConfig":
    config = _GuardedConfig(schema, argv)
    config.collect_argparse_args(parser)
    return config


def _build(schema: type[C], values: Values) -> C:
    sections = {
        name: section(**{path[1]: value for path, value in values.items() if path[0] == name})
        for name, section in sections_of(schema).items()
    }
    return schema(**sections)


def _recipe_name(path: Path) -> str:
    """The file's name; of a run's own settings that of its folder, since "config" would say nothing."""
    return path.resolve().parent.name or path.stem if path.name in CONFIGS_OF_A_RUN else path.stem


def _parse(specs: Mapping[tuple[str, ...], OptionSpec], key: str, value: Any, where: str = "") -> Any:
    try:
        return specs[tuple(key.split("."))].parse(value)
    except ValueError as error:
        raise UserError(f"{key}: {error}{where}") from None


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
        self.recipe = "run"
        self.in_files: Values = {}
        self.on_line: Values = {}
        self.then: list[Values] = []
        self._has_stages = schema is TrainConfig
        self.specs: dict[tuple[str, ...], OptionSpec] = {}
        for name, section in sections_of(schema).items():
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
                    f"unexpected argument {word!r}: give a recipe as -C FILE and an option as --section.name=VALUE"
                )
            self._refuse_unknown(word.removeprefix("--").split("=")[0], "on the command line")
        for name in known.config_file:
            self.collect_config_file(name)
            self.recipe = _recipe_name(Path(name))
        self.in_files = dict(self.content)
        given = {
            key: value for key, value in vars(known).items() if key != "config_file" and value is not None
        }
        self.on_line = {tuple(key.split(".")): _parse(self.specs, key, value) for key, value in given.items()}
        return self

    def collect_config_file(self, fname: str) -> "_GuardedConfig":
        for path, content in with_bases(find_recipe_file(fname)):
            if self._has_stages and "then" in content:
                self.then = list(self._stages(content.pop("then"), path))
            self.collect(self._options(content, f"in {path}"))
        return self

    def _stages(self, items: Any, path: Path) -> Iterator[Values]:
        """The options that each item of a file's `then:` sets."""
        if not isinstance(items, list):
            raise UserError(
                f"`then:` in {path} is not a list: begin each further stage with a -, or write [] for no further stage"
            )
        for number, item in enumerate(items, start=2):
            where = f"in stage {number} of {path}"
            if not isinstance(item, dict):
                raise UserError(
                    f"the item {where} is not a stage: it has to hold sections such as `training:`"
                )
            options = self._options(item, where)
            for key in options:
                refuse_in_stage(key, where)
            yield {tuple(key.split(".")): value for key, value in options.items()}

    def _options(self, content: dict[Any, Any], where: str) -> dict[str, Any]:
        """The parsed values, by dotted name, that a file or one of its stages sets."""
        options: dict[str, Any] = {}
        for key, value in self._flatten(content, where):
            if key in _OLD:
                continue
            if tuple(key.split(".")) not in self.specs:
                self._refuse_unknown(key, where)
            if value is None:
                raise UserError(f"{key} has no value {where}: give it one, or delete the line")
            if key in options:
                raise UserError(f"{key} is given twice {where}: delete one of the lines")
            options[key] = _parse(self.specs, key, value, f" ({where})")
        return options

    def _flatten(self, content: dict[Any, Any], where: str) -> Iterator[tuple[str, Any]]:
        """(dotted name, value) of every setting; anything nested deeper than section and option is a value."""
        sections = {section for section, _ in self.specs}
        for key, value in content.items():
            if isinstance(value, dict):
                yield from ((f"{key}.{name}", inner) for name, inner in value.items())
            elif key not in sections:
                yield str(key), value
            elif value is not None:
                raise UserError(
                    f"{key!r} {where} is a section, not an option: put its options, indented, on the lines below it"
                )

    def _refuse_unknown(self, key: str, where: str) -> NoReturn:
        if key in _GONE:
            raise UserError(f"option {key!r} {where} does not exist here: {_GONE[key]}")
        names = [".".join(path) for path in self.specs]
        of_other_section = [name for name in names if name.split(".")[1] == key.split(".")[-1]]
        hint = nearest(key, of_other_section) or nearest(key, names) or ": --help lists all options"
        raise UserError(f"unknown option {key!r} {where}{hint}")
