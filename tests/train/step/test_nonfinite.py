"""Losses that are not finite, or too high, name the first step at which they became so; skipped ones are counted."""

from typing import Any

import pytest
import torch

from engine.errors import UserError
from engine.train.step.nonfinite import LOOK_EVERY, EpochLosses
from tests.train.steps import ALONE, recipe

NO, YES = torch.tensor(False), torch.tensor(True)


def _losses(steps: int, accumulation: int = 1, **training: Any) -> EpochLosses:
    return EpochLosses(recipe(**training), ALONE, epoch=4, steps=steps, accumulation=accumulation)


def test_mean_loss_is_over_all_parts_of_all_steps() -> None:
    losses = _losses(LOOK_EVERY + 7, accumulation=2)
    for step in range(LOOK_EVERY + 7):
        losses.note(torch.tensor(2.0 * step), NO)
    assert losses.mean() == pytest.approx((LOOK_EVERY + 6) / 2)
    assert losses.skipped == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("bad", [0, 3, LOOK_EVERY - 1, LOOK_EVERY + 2])
def test_first_nonfinite_step_is_named_at_the_next_look(value: float, bad: int) -> None:
    losses, last = _losses(2 * LOOK_EVERY), 2 * LOOK_EVERY if bad >= LOOK_EVERY else LOOK_EVERY
    with pytest.raises(
        UserError, match=rf"epoch 5, step {bad + 1} of 100: the training loss became"
    ) as caught:
        for step in range(2 * LOOK_EVERY):
            losses.note(torch.tensor(value if step >= bad else 1.0), NO)
    assert "lower lr.lr (it is 0.4)" in str(caught.value) and "\n" not in str(caught.value)
    assert step == last - 1, "no later than the next look"


def test_look_reports_the_mean_since_the_last_even_after_resume() -> None:
    def told_of(leave_at: int) -> list[tuple[int, float]]:
        told: list[tuple[int, float]] = []
        steps, settings = LOOK_EVERY + 10, recipe(nonfinite="skip")

        def begin() -> EpochLosses:
            return EpochLosses(
                settings, ALONE, epoch=4, steps=steps, accumulation=1, told=lambda *what: told.append(what)
            )

        losses = begin()
        for step in range(steps):
            if step == leave_at:
                (state, losses) = (losses.state_dict(), begin())
                losses.load_state_dict(state)
            # The last step of all is left out.
            losses.note(torch.tensor(float(step)), torch.tensor(step == steps - 1))
        losses.mean()
        return told

    whole = told_of(leave_at=-1)
    assert whole == [(LOOK_EVERY, (LOOK_EVERY - 1) / 2), (LOOK_EVERY + 10, LOOK_EVERY + 4)]
    assert all(told_of(leave_at) == whole for leave_at in (3, LOOK_EVERY, LOOK_EVERY + 9))


def test_look_at_the_end_of_an_epoch_covers_the_rest() -> None:
    losses = _losses(3)
    for value in (1.0, 2.0, float("nan")):
        losses.note(torch.tensor(value), NO)
    with pytest.raises(UserError, match="epoch 5, step 3 of 3: the training loss became nan"):
        losses.mean()


def test_loss_above_the_limit_ends_the_run() -> None:
    losses = _losses(2, loss_limit=50)
    losses.note(torch.tensor(50.0), NO)
    losses.note(torch.tensor(51.0), NO)
    with pytest.raises(UserError, match=r"step 2 of 2: the training loss became 51, above .*loss_limit 50"):
        losses.mean()


def test_skipped_steps_are_counted_and_not_averaged() -> None:
    losses = _losses(4, nonfinite="skip")
    for value, left_out in ((1.0, NO), (float("nan"), YES), (3.0, NO), (9.0, YES)):
        losses.note(torch.tensor(value), left_out)
    assert losses.mean() == 2.0
    assert losses.skipped == 2


def test_single_skipped_step_at_the_end_is_allowed() -> None:
    told: list[int] = []
    losses = EpochLosses(
        recipe(nonfinite="skip"), ALONE, epoch=4, steps=LOOK_EVERY + 1, accumulation=1,
        told=lambda step, _: told.append(step),
    )  # fmt: skip
    for step in range(LOOK_EVERY + 1):
        losses.note(torch.tensor(1.0), torch.tensor(step == LOOK_EVERY))
    assert (losses.mean(), losses.skipped, told) == (1.0, 1, [LOOK_EVERY])


def test_short_epoch_with_every_step_skipped_ends_the_run() -> None:
    losses = _losses(3, nonfinite="skip")
    for _ in range(3):
        losses.note(torch.tensor(float("nan")), YES)
    with pytest.raises(UserError, match=r"gradients of the 3 steps up to step 3 were all not finite: lower"):
        losses.mean()


def test_pending_losses_keep_their_scale_on_other_rank_counts() -> None:
    four, two = _losses(6, accumulation=4), _losses(6, accumulation=2)
    for step in range(3):
        four.note(torch.tensor(4.0 * step), NO)
    two.load_state_dict(four.state_dict())
    for step in range(3, 6):
        two.note(torch.tensor(2.0 * step), NO)
    assert two.mean() == 2.5


def test_run_with_every_step_skipped_ends() -> None:
    losses = _losses(LOOK_EVERY, nonfinite="skip")
    with pytest.raises(
        UserError, match=r"gradients of the 50 steps up to step 50 were all not finite: lower"
    ):
        for _ in range(LOOK_EVERY):
            losses.note(torch.tensor(float("nan")), YES)
