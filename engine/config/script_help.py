"""`--help` of train_imagenet.py and write_dataset.py: every option of the schema, section by section."""

import inspect
import textwrap
from collections.abc import Iterator

from engine.config.command_line import CommandParser, help_width
from engine.config.options import OptionSpec, options_of, sections_of, summary_of
from engine.config.train.train_config import TrainConfig
from engine.config.write import WriteConfig

_FILES = (
    "Options come from YAML files (-C) and from the command line; {} in YAML. Later files override earlier ones, and "
    "the command line overrides all files. Numbers may be fractions such as 11/16."
)
_EXAMPLES = {
    TrainConfig: "--training.epochs=16 is `training: {epochs: 16}`",
    WriteConfig: "--output.format=raw is `output: {format: raw}`",
}
_STAGES = (
    "A recipe may have further stages: each item of its list `then:` gives, by section, the options that differ from "
    "the stage before. A stage starts from the weights of the stage before. The command line applies to every stage."
)
_CONFIG_FILE = (
    "YAML recipe, or the name of one that `python -m engine recipes` lists; may be repeated. A file may name the file "
    "it builds on as `base:`, relative to itself"
)
_TYPES = {bool: "BOOL", int: "INT", float: "NUMBER", str: "TEXT"}


class ScriptParser(CommandParser):
    """The parser of a script whose options are those of `schema` (TrainConfig or WriteConfig)."""

    def __init__(self, schema: type, prog: str, description: str) -> None:
        super().__init__(prog, description, "[-C FILE] [options]", allow_abbrev=False)
        self._schema = schema
        self.add_argument(
            "-C", "--config-file", action="append", default=[], metavar="FILE", help=_CONFIG_FILE
        )
        for name, section in sections_of(schema).items():
            for key, spec in options_of(section).items():
                self.add_argument(f"--{name}.{key}", metavar=type_name(spec))

    def format_help(self) -> str:
        """The whole help text, in lines of at most `command_line.WIDTH` columns."""
        width = help_width()
        paragraphs = [self.description or "", _FILES.format(_EXAMPLES[self._schema])]
        paragraphs += [_STAGES] if self._schema is TrainConfig else []
        lines = [self.format_usage().rstrip()]
        for paragraph in paragraphs:
            lines += ["", *textwrap.wrap(paragraph, width, break_on_hyphens=False)]
        lines += ["", "general"]
        lines += _entry("-h, --help", "print this help and exit", width)
        lines += _entry("-C FILE, --config-file FILE", _CONFIG_FILE, width)
        for name, section in sections_of(self._schema).items():
            lines += ["", *_section(name, section, width)]
        return "\n".join(lines) + "\n"


def type_name(spec: OptionSpec) -> str:
    """The placeholder of an option's value, such as INT."""
    return "CHOICE" if spec.choices else _TYPES[spec.type]


def facts(spec: OptionSpec) -> str:
    """Unit, limits or choices, and default, such as "px, 8 to 1024; default 160"."""
    limits = f"one of {spec.limits()}" if spec.choices else spec.limits()
    known = ", ".join(part for part in (spec.unit, limits) if part)
    return f"{known}; default {spec.default_text()}" if known else f"default {spec.default_text()}"


def remarks_of(section: type) -> str:
    """What a section's docstring says after its first line, as one paragraph; "" for nothing."""
    return " ".join(inspect.cleandoc(section.__doc__ or "").partition("\n")[2].split())


def _section(name: str, section: type, width: int) -> Iterator[str]:
    title = summary_of(section)
    yield from textwrap.wrap(
        f"{name}: {title[0].lower()}{title[1:]}", width, subsequent_indent="  ", break_on_hyphens=False
    )
    if remarks := remarks_of(section):
        yield from textwrap.wrap(
            remarks, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
        )
    for key, spec in options_of(section).items():
        yield from _entry(f"--{name}.{key} {type_name(spec)}", f"{spec.help} [{facts(spec)}]", width)


def _entry(option: str, text: str, width: int) -> list[str]:
    """An option with its text indented below it."""
    indent = " " * 6
    return [
        f"  {option}",
        *textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False),
    ]
