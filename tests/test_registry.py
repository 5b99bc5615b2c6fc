"""The registry refuses a name that is taken, and for an unknown one says what there is and what was meant."""

import pytest

from engine.errors import UserError
from engine.registry import Registry, nearest


def test_an_object_is_found_under_its_name_and_the_decorator_leaves_it_as_it_is() -> None:
    shapes: Registry[str] = Registry("shape")
    assert shapes.register("round")("a circle") == "a circle"
    assert shapes["round"] == "a circle"


def test_a_name_that_is_taken_is_a_bug_and_the_first_entry_stays() -> None:
    shapes: Registry[str] = Registry("shape")
    shapes.register("round")("a circle")
    with pytest.raises(ValueError, match="shape 'round' is registered twice"):
        shapes.register("round")("a ball")
    assert shapes["round"] == "a circle"


def test_an_unknown_name_lists_the_choices_in_order_and_the_nearest() -> None:
    shapes: Registry[int] = Registry("shape")
    for number, name in enumerate(("square", "round", "oval")):
        shapes.register(name)(number)
    with pytest.raises(UserError) as caught:
        shapes["rouund"]
    expected = "unknown shape 'rouund' (did you mean 'round'?); choices: oval, round, square"
    assert str(caught.value) == expected
    assert shapes.names() == ["oval", "round", "square"]


def test_nothing_is_suggested_when_nothing_is_close() -> None:
    assert nearest("zzz", ["epochs", "seed"]) == ""
    assert nearest("zzz", []) == ""
    assert nearest("epoch", iter(["epochs", "seed"])) == " (did you mean 'epochs'?)"


def test_capitals_do_not_mislead_the_suggestion() -> None:
    assert nearest("BF16", ["fp16", "bf16"]) == " (did you mean 'bf16'?)"
    assert nearest("resnet", ["ResNet"]) == " (did you mean 'ResNet'?)"
