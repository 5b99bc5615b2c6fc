"""How one option is declared and checked: type, default, help, unit, limits. The schema is built from these.

Values come from YAML or from the command line, so each may be text. Parsing is strict where fastargs
is lax: `int` refuses 1.7 and true, `bool` refuses anything but true/false/yes/no/on/off/1/0, and `float`
takes a fraction such as 11/16 so that a recipe can state it exactly.
"""

import dataclasses
import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from engine.errors import UserError
from engine.registry import nearest

T = TypeVar("T", bool, int, float, str)

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}
_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number or a fraction such as 11/16",
    str: "text",
}


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """Everything about one option except its name: value type, default, help text, unit and limits.

    `low` and `high` are inclusive, `above` is exclusive. `unit` is a word such as "px", or "" for none.
    """

    type: type
    default: Any
    help: str
    unit: str = ""
    choices: Collection[str] = ()
    low: float | None = None
    high: float | None = None
    above: float | None = None

    def constraint(self) -> str:
        """Type and limits in words, for error messages."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        text = _WORDS[self.type]
        if self.low is not None:
            text += f", at least {self.low}"
        if self.above is not None:
            text += f", above {self.above}"
        if self.high is not None:
            text += f", at most {self.high}"
        return text

    def limits(self) -> str:
        """Choices or range in a few words, for --help and the options page: "8 to 1024", "above 0", or ""."""
        if self.choices:
            return ", ".join(self.choices)
        high = "" if self.high is None else _short(self.high)
        if self.above is not None:
            return f"above {_short(self.above)}" + (f", up to {high}" if high else "")
        if self.low is None:
            return f"up to {high}" if high else ""
        return f"{_short(self.low)} to {high}" if high else f"{_short(self.low)} or more"

    def default_text(self) -> str:
        """The default as a user would type it; an empty text as "empty"."""
        if self.default == "":
            return "empty"
        if self.type is bool:
            return str(self.default).lower()
        return _short(self.default) if self.type is float else str(self.default)

    def parse(self, value: Any) -> Any:
        """`value` as this option's type. Raises ValueError with the constraint when it does not fit."""
        try:
            parsed: Any = _PARSERS[self.type](self._as_choice(value))
        except (ValueError, ZeroDivisionError, OverflowError):
            hint = nearest(str(value), self.choices) if self.choices else ""
            raise ValueError(f"{value!r} is not {self.constraint()}{hint}") from None
        too_low = self.low is not None and parsed < self.low
        too_low = too_low or (self.above is not None and parsed <= self.above)
        too_high = self.high is not None and parsed > self.high
        unknown = bool(self.choices) and parsed not in self.choices
        if too_low or too_high or unknown:
            raise ValueError(f"{value!r} is not {self.constraint()}{nearest(str(value), self.choices)}")
        return parsed

    def _as_choice(self, value: Any) -> Any:
        """A truth value as on or off where these are choices: YAML takes the words for one, and so it once was."""
        if not {"on", "off"} <= set(self.choices):
            return value
        text = str(value).strip().lower()
        return "on" if text in _TRUE else "off" if text in _FALSE else value


def _short(number: float) -> str:
    """A number without the digits that nobody would type; the value stays exact where it is whole."""
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e15 else f"{number:.4g}"


def _parse_bool(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError


def _parse_int(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError
        return int(value)
    if not isinstance(value, (int, str)):
        raise ValueError
    return int(value)


def _parse_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    if isinstance(value, str) and "/" in value:
        numerator, denominator = value.split("/")
        parsed = float(numerator) / float(denominator)
    else:
        parsed = float(value)
    if not math.isfinite(parsed):
        raise ValueError
    return parsed


def _parse_str(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError
    return str(value)


_PARSERS = {bool: _parse_bool, int: _parse_int, float: _parse_float, str: _parse_str}


def option(
    default: T,
    help: str,
    *,
    unit: str = "",
    choices: Collection[str] = (),
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
) -> T:
    """Declare one option as a dataclass field; its value type is the type of `default`."""
    spec = OptionSpec(
        type=type(default),
        default=default,
        help=help,
        unit=unit,
        choices=choices,
        low=low,
        high=high,
        above=above,
    )
    field: Any = dataclasses.field(default=default, metadata={"option": spec})
    return cast(T, field)


def options_of(section: type) -> dict[str, OptionSpec]:
    """Name -> spec of every option that the section class declares, in order."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(section)}


def sections_of(schema: type) -> dict[str, type]:
    """Name -> section class of every section of a schema (TrainConfig or WriteConfig), in order."""
    return {field.name: cast(type, field.default_factory) for field in dataclasses.fields(schema)}


def summary_of(section: type) -> str:
    """A section's heading in --help and on the options page: the first line of its class's docstring."""
    return (section.__doc__ or "").strip().splitlines()[0].rstrip(".")


def check_section(section: Any, name: str) -> None:
    """Check each value of a section object, so that one built in code is as safe as one from a file.

    Raises UserError naming the option, its value and its constraint.
    """
    for key, spec in options_of(type(section)).items():
        try:
            parsed = spec.parse(getattr(section, key))
        except ValueError as error:
            raise UserError(f"{name}.{key}: {error}") from None
        object.__setattr__(section, key, parsed)


def check_config(config: Any) -> None:
    """Check every option of every section of a whole configuration. Raises UserError."""
    for section in dataclasses.fields(config):
        check_section(getattr(config, section.name), section.name)


def json_object(name: str, text: str) -> dict[str, Any]:
    """The text of the option `name`, a JSON object or empty, as a dictionary. Raises UserError for anything else."""
    try:
        options = json.loads(text or "{}")
    except ValueError as error:
        raise UserError(f"{name} is not JSON: {error}") from None
    if not isinstance(options, dict):
        raise UserError(f'{name} is not a JSON object: write it as {{"key": "value"}}')
    return options
