"""The registry refuses a name that is taken, and for an unknown one says what there is and what was meant."""

import pytest

from engine.errors import UserError
from engine.registry import Registry, nearest


def test_registered_object_is_found_unchanged() -> None:
    shapes: Registry[str] = Registry("shape")
    assert shapes.register("round")("a circle") == "a circle"
    assert shapes["round"] == "a circle"


def test_duplicate_name_raises_and_keeps_first() -> None:
    shapes: Registry[str] = Registry("shape")
    shapes.register("round")("a circle")
    with pytest.raises(ValueError, match="shape 'round' is registered twice"):
        shapes.register("round")("a ball")
    assert shapes["round"] == "a circle"


def test_unknown_name_lists_choices_and_nearest() -> None:
    shapes: Registry[int] = Registry("shape")
    for number, name in enumerate(("square", "round", "oval")):
        shapes.register(name)(number)
    with pytest.raises(UserError) as caught:
        shapes["rouund"]
    expected = "unknown shape 'rouund' (did you mean 'round'?); choices: oval, round, square"
    assert str(caught.value) == expected
    assert shapes.names() == ["oval", "round", "square"]


def test_no_close_name_suggests_nothing() -> None:
    assert nearest("zzz", ["epochs", "seed"]) == ""
    assert nearest("zzz", []) == ""
    assert nearest("epoch", iter(["epochs", "seed"])) == " (did you mean 'epochs'?)"


def test_capital_letters_still_suggest() -> None:
    assert nearest("BF16", ["fp16", "bf16"]) == " (did you mean 'bf16'?)"
    assert nearest("resnet", ["ResNet"]) == " (did you mean 'ResNet'?)"
