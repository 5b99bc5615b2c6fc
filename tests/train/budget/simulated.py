"""A machine whose speed a test sets: the clock that the run reads moves with its steps and validations alone."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.train import run
from engine.train.budget import clock, keeper
from engine.train.evaluation.validator import Validator
from engine.train.recipe import recipe_run
from engine.train.step.step import Step


class SimulatedMachine:
    """A clock that only training steps and validations move: `step_seconds` (of a step's number) and 0.5 s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step_seconds: Callable[[int], float]) -> None:
        self.now, self.steps = 1000.0, 0
        take, accuracy = Step.take, Validator.accuracy

        def slow_take(step: Step, *args: Any, **kwargs: Any) -> Any:
            self.now += step_seconds(self.steps)
            self.steps += 1
            return take(step, *args, **kwargs)

        def slow_accuracy(validator: Validator, *args: Any, **kwargs: Any) -> Any:
            self.now += 0.5
            return accuracy(validator, *args, **kwargs)

        monkeypatch.setattr(Step, "take", slow_take)
        monkeypatch.setattr(Validator, "accuracy", slow_accuracy)
        for module in (clock, keeper, recipe_run, run):
            monkeypatch.setattr(module, "time", self)

    def perf_counter(self) -> float:
        """The simulated time."""
        return self.now

    time = perf_counter
