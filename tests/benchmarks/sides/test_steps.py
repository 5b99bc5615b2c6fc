"""Training steps: all registered sides train the same network the same way."""

import pytest
import torch

from benchmarks.sides import OURS, PEERS, StepSide
from benchmarks.sides.steps.step_tasks import StepTask
from benchmarks.sides.steps.step_training import FIRST_STEPS, Training
from engine.errors import UserError

SIDES = {**OURS["step"], **PEERS["step"]}
# A library beside the project's own takes seconds to import.
NAMES = [
    pytest.param(name, marks=pytest.mark.slow if side.needs else ()) for name, side in PEERS["step"].items()
]


def _open(name: str, *, blurpool: bool, arch: str = "resnet18", precision: str = "fp32") -> Training:
    task = StepTask(
        arch=arch,
        blurpool=blurpool,
        precision=precision,
        compile=False,
        device="cpu",
        cores=torch.get_num_threads(),
    )
    training: Training = SIDES[name].open_side(task)
    return training


def _first_losses(name: str, *, blurpool: bool) -> list[float]:
    return _open(name, blurpool=blurpool).start(32, 8).losses


@pytest.fixture(scope="module")
def ours() -> dict[bool, list[float]]:
    """Our first losses, without BlurPool and with it."""
    losses = {blurpool: _first_losses("ours", blurpool=blurpool) for blurpool in (False, True)}
    assert len(losses[False]) == FIRST_STEPS and abs(losses[False][0] - losses[False][2]) > 0.05
    assert abs(losses[False][0] - losses[True][0]) > 1e-3
    return losses


@pytest.mark.parametrize("name", NAMES)
def test_peer_without_blurpool_takes_our_steps(name: str, ours: dict[bool, list[float]]) -> None:
    losses = _first_losses(name, blurpool=False)
    assert losses[0] == pytest.approx(ours[False][0], rel=1e-5)
    # Weight decay of norms differs between sides, and rounding grows with each step.
    assert losses[:3] == pytest.approx(ours[False][:3], rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_peer_with_blurpool_has_our_network_only_if_registered_so(
    name: str, ours: dict[bool, list[float]]
) -> None:
    side = PEERS["step"][name]
    assert isinstance(side, StepSide)
    if not side.blurs:
        pytest.skip("it has no BlurPool")
    losses = _first_losses(name, blurpool=True)
    if side.blurs_as_ours:
        assert losses[:3] == pytest.approx(ours[True][:3], rel=1e-3)
    else:
        assert abs(losses[0] - ours[True][0]) > 1e-2


def test_every_start_repeats_the_first_losses() -> None:
    training = _open("ours", blurpool=True, arch="small_resnet")
    first = training.start(16, 4)
    training.steps(3)
    training.start(24, 2)
    assert training.start(16, 4).losses == first.losses
    assert training.seconds(2) > 0


def test_nonfinite_loss_ends_the_round() -> None:
    training = _open("ours", blurpool=False, arch="small_resnet")
    training.start(16, 4)
    with torch.no_grad():
        next(training.side.model.parameters()).fill_(float("nan"))
    with pytest.raises(RuntimeError, match="the loss became nan"):
        training.seconds(1)


def test_unknown_network_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="no network 'resnet51'"):
        _open("ours", blurpool=False, arch="resnet51")


@pytest.mark.slow
def test_network_that_timm_lacks_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="timm has no such network"):
        _open("timm", blurpool=False, arch="resnet18_32px")
    with pytest.raises(UserError, match="has no aa_layer"):
        _open("timm", blurpool=True, arch="convnext_atto")
