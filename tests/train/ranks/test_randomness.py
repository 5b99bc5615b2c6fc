"""What dropout and stochastic depth draw: the same again when a run goes on, other numbers in every step."""

import shutil
from collections.abc import Callable

import pytest
import torch

from engine.errors import UserError
from engine.train.checkpoints import store
from engine.train.ranks.backends import seed_step
from engine.train.trainer import Trainer
from tests.train.conftest import train_here

Options = Callable[..., list[str]]


def test_every_step_of_every_rank_draws_different_numbers() -> None:
    drawn = set()
    for seed, epoch, step, rank in [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]:
        for _ in range(2):
            seed_step(seed, epoch, step, rank)
            again = tuple(torch.rand(4).tolist())
        drawn.add(again)
    assert len(drawn) == 5


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_draws_match_torch_manual_seed(name: str) -> None:
    device = torch.device(name)
    torch.zeros((), device=device)
    seed_step(1, 2, 3, 4)
    drawn = torch.rand(4, device=device)
    torch.manual_seed(torch.initial_seed())
    assert torch.equal(torch.rand(4, device=device), drawn)


def test_stochastic_depth_run_resumes_to_the_same_weights(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = {"training__epochs": 3, "model__stochastic_depth": 0.5, "model__zero_init_residual": False}
    _, whole = train_here(options(**change, logging__name="whole"))
    train_epoch = Trainer.train_epoch

    def stop_in_the_second(trainer: Trainer, epoch: int, *rest: object) -> object:
        if epoch == 1:
            raise UserError("interrupted")
        return train_epoch(trainer, epoch, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(UserError, match="interrupted"):
        patch.setattr(Trainer, "train_epoch", stop_in_the_second)
        train_here(options(**change, logging__name="stopped"))
    stopped = whole.parent / "stopped"
    assert store.newest(stopped)
    # Other draws in between must not matter.
    torch.rand(7)
    train_here(options(**change, training__resume=stopped))
    first, second = (torch.load(run / "weights.pt", weights_only=True) for run in (whole, stopped))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_stochastic_depth_changes_what_is_learnt(options: Options) -> None:
    def weights(depth: float) -> torch.Tensor:
        _, folder = train_here(
            options(training__epochs=1, lr__lr_peak_epoch=0, model__stochastic_depth=depth)
        )
        state: dict[str, torch.Tensor] = torch.load(folder / "weights.pt", weights_only=True)
        shutil.rmtree(folder)
        return state["fc.weight"]

    assert not torch.equal(weights(-1), weights(0.5))
