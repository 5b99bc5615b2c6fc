"""What is left of a run takes as long as the machine is slow now, validations and the end included."""

from types import SimpleNamespace
from typing import Any

import pytest

from engine.config.load import load_train_config
from engine.train.budget.keeper import Keeper
from engine.train.budget.timeline import Timeline


def keeper() -> Keeper:
    """One whose plan says 100 images/s at 32 px, validations of 3 s, and 1 s at the end."""
    argv = ["--data.train_dataset=a", "--data.val_dataset=b", "--budget.minutes=10", "--plan.pace=32:100"]
    argv += ["--plan.validation_seconds=3", "--plan.finish_seconds=1", "--resolution.max_res=32"]
    config = load_train_config([*argv, "--resolution.min_res=32"])[0]
    trainer: Any = SimpleNamespace(
        timeline=Timeline(4), plans={32: None}, compile_seconds={}, num_samples=1000, full_steps=lambda _: 10
    )
    return Keeper(config, config.budget, trainer, used=lambda: 0.0, told=lambda line: None)


def train_at(one: Keeper, rate: float, seconds: int = 60) -> None:
    for _ in range(seconds):
        one._pace.note(32, round(rate), 1.0)


@pytest.mark.parametrize("measured", [False, True], ids=["as planned", "as measured"])
def test_validation_and_end_take_longer_on_a_slower_machine(measured: bool) -> None:
    one = keeper()
    train_at(one, 100)
    if measured:
        one.note_validation(3.0)
    train_at(one, 50)
    costs = one._costs(60.0)
    assert costs.epoch_at(1.0) == pytest.approx(20)
    assert costs.validation == pytest.approx(6) and costs.finish == pytest.approx(2)


def test_validation_measured_on_a_slow_machine_is_faster_afterwards() -> None:
    one = keeper()
    train_at(one, 50)
    one.note_validation(6.0)
    train_at(one, 100)
    assert one._costs(60.0).validation == pytest.approx(3)
