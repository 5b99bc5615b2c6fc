"""An option takes what means its type and nothing else: no truncation, no truth in odd words, no nan."""

from dataclasses import dataclass
from typing import Any

import pytest

from engine.config.options import OptionSpec, check_section, option, options_of
from engine.errors import UserError


def _spec(kind: type, **limits: Any) -> OptionSpec:
    return OptionSpec(type=kind, default=kind(), help="", **limits)


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (int, "7", 7),
        (int, " 7 ", 7),
        (int, 7.0, 7),
        (int, "-3", -3),
        (int, "010", 10),
        (float, "1e-4", 1e-4),
        (float, 3, 3.0),
        (float, "11/16", 11 / 16),
        (float, " 1 / 4 ", 0.25),
        (float, "-0.5", -0.5),
        (bool, "Yes", True),
        (bool, "on", True),
        (bool, 1, True),
        (bool, "true", True),
        (bool, False, False),
        (bool, "0", False),
        (bool, 0, False),
        (bool, "OFF", False),
        (bool, "no", False),
        (str, "a b", "a b"),
        (str, "", ""),
        (str, 18, "18"),
    ],
)
def test_value_of_the_type_is_parsed(kind: type, given: object, expected: object) -> None:
    parsed = _spec(kind).parse(given)
    assert parsed == expected and type(parsed) is kind


@pytest.mark.parametrize(
    ("kind", "given", "constraint"),
    [
        (int, 1.7, "a whole number"),
        (int, "1.7", "a whole number"),
        (int, "7.0", "a whole number"),
        (int, True, "a whole number"),
        (int, "true", "a whole number"),
        (int, "", "a whole number"),
        (int, None, "a whole number"),
        (int, [1], "a whole number"),
        (int, float("inf"), "a whole number"),
        (int, float("nan"), "a whole number"),
        (int, "1:30", "a whole number"),
        (bool, "maybe", "true or false"),
        (bool, "", "true or false"),
        (bool, 2, "true or false"),
        (bool, 0.5, "true or false"),
        (bool, None, "true or false"),
        (float, "1/0", "a fraction"),
        (float, "1/2/3", "a fraction"),
        (float, "/", "a fraction"),
        (float, "inf/inf", "a fraction"),
        (float, "1e308/1e-308", "a fraction"),
        (float, "nan", "a number"),
        (float, "inf", "a number"),
        (float, float("-inf"), "a number"),
        (float, 10**400, "a number"),
        (float, "", "a number"),
        (float, True, "a number"),
        (float, {"a": 1}, "a number"),
        (str, None, "text"),
        (str, ["a"], "text"),
        (str, {"a": 1}, "text"),
        (str, False, "text"),
    ],
)
def test_value_of_another_type_is_refused_with_the_constraint(
    kind: type, given: object, constraint: str
) -> None:
    with pytest.raises(ValueError, match=constraint) as caught:
        _spec(kind).parse(given)
    assert str(caught.value).startswith(f"{given!r} is not ")


def test_low_and_high_are_inclusive_above_is_exclusive() -> None:
    spec = _spec(float, above=0, high=1)
    assert spec.parse(1) == 1.0 and spec.parse(1e-300) == 1e-300
    for given in (0, "-0.1", 1.0000001):
        with pytest.raises(ValueError, match="above 0, at most 1"):
            spec.parse(given)
    assert _spec(int, low=0).parse("0") == 0
    with pytest.raises(ValueError, match="at least 0"):
        _spec(int, low=0).parse(-1)


def test_large_limit_is_printed_in_full() -> None:
    assert _spec(int, high=2**31 - 1).constraint() == "a whole number, at most 2147483647"


def test_unknown_choice_is_refused_with_the_nearest_name() -> None:
    spec = _spec(str, choices=("cyclic", "cosine"))
    assert spec.parse("cosine") == "cosine"
    with pytest.raises(ValueError, match=r"one of cyclic, cosine \(did you mean 'cyclic'\?\)"):
        spec.parse("cyclc")


@dataclass(frozen=True, kw_only=True)
class _Section:
    """A section of every type."""

    epochs: int = option(30, "passes", low=1)
    share: float = option(0.5, "a part", low=0, high=1)
    fast: bool = option(True, "hurry")
    kind: str = option("a", "which", choices=("a", "b"))


def test_options_keep_their_order_and_the_type_of_their_default() -> None:
    specs = options_of(_Section)
    assert list(specs) == ["epochs", "share", "fast", "kind"]
    assert [spec.type for spec in specs.values()] == [int, float, bool, str]
    assert specs["epochs"].default == 30 and specs["epochs"].help == "passes"


def test_section_built_in_code_is_checked_and_converted() -> None:
    section = _Section(epochs="3", share="3/4", fast="no")  # type: ignore[arg-type]
    check_section(section, "demo")
    assert section == _Section(epochs=3, share=0.75, fast=False)
    with pytest.raises(UserError, match=r"demo\.epochs: 1\.7 is not a whole number, at least 1"):
        check_section(_Section(epochs=1.7), "demo")  # type: ignore[arg-type]
