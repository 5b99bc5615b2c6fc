"""How one option is declared and checked: type, default, help, bounds. The schema is built from these.

Values come from YAML or from the command line, so each may be text. Parsing is strict where fastargs
is lax: `int` refuses 1.7 and true, `bool` refuses anything but true/false/yes/no/on/off/1/0, and `float`
takes a share such as 11/16 so that a recipe can say it exactly.
"""

import dataclasses
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
    float: "a number or a share such as 11/16",
    str: "text",
}


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """What is known of one option beside its name: value type, default, help text, limits."""

    type: type
    default: Any
    help: str
    choices: Collection[str] = ()
    low: float | None = None
    high: float | None = None
    above: float | None = None

    def constraint(self) -> str:
        """The limits in words, for --help and for error messages."""
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

    def parse(self, value: Any) -> Any:
        """`value` as this option's type. Raises ValueError with the constraint when it does not fit."""
        try:
            parsed: Any = _PARSERS[self.type](value)
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
    choices: Collection[str] = (),
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
) -> T:
    """Declare one option as a dataclass field; its value type is that of `default`."""
    spec = OptionSpec(
        type=type(default), default=default, help=help, choices=choices, low=low, high=high, above=above
    )
    field: Any = dataclasses.field(default=default, metadata={"option": spec})
    return cast(T, field)


def options_of(section: type) -> dict[str, OptionSpec]:
    """Name -> spec of every option that the section class declares, in order."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(section)}


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
    """Check every option of every section of a whole configuration."""
    for section in dataclasses.fields(config):
        check_section(getattr(config, section.name), section.name)
