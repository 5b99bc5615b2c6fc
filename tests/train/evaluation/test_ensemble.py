"""model.ensemble: the mean softmax of several networks, evaluated as one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import UserError
from engine.models.build import build_model
from engine.models.ensemble import Ensemble
from engine.train.checkpoints.weights_file import with_classes
from tests.shapes import CLASSES


class _Fixed(torch.nn.Module):
    """Gives the same logits for any images."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_ensemble_softmax_is_the_mean_of_its_members() -> None:
    logits = [torch.randn(5, 4, generator=torch.Generator().manual_seed(seed)) * 3 for seed in range(3)]
    joint = Ensemble([_Fixed(one) for one in logits])(torch.zeros(5, 3, 8, 8))
    mean = torch.stack([one.double().softmax(1) for one in logits]).mean(0)
    torch.testing.assert_close(joint.double().softmax(1), mean, rtol=1e-6, atol=1e-7)


def test_ensemble_of_certain_networks_stays_finite() -> None:
    """Where all members give a class a probability that float32 can't hold."""
    certain = torch.tensor([[0.0, -900.0]])
    joint = Ensemble([_Fixed(certain), _Fixed(certain)])(torch.zeros(1, 3, 8, 8))
    torch.testing.assert_close(joint, certain)


def test_network_with_itself_scores_as_alone(evaluate: Any, trained: Path) -> None:
    alone, found = evaluate()
    joint, together = evaluate(model__ensemble=trained / "weights.pt")
    for key in ("top1", "top5", "top1_no_tta", "plain_top1"):
        assert joint[key] == alone[key]
    assert joint["val_loss"] == pytest.approx(alone["val_loss"], rel=1e-5)
    assert together["ensemble"] == [str(trained / "weights.pt")] and "ensemble" not in found


def test_member_is_what_its_file_says(evaluate: Any, trained: Path, tmp_path: Path) -> None:
    """Another network than the recipe's (without BlurPool), and classes in another order, which are taken by name."""
    config = {"model": {"arch": "small_resnet"}, "training": {"use_blurpool": False}}
    torch.manual_seed(1)
    state = build_model("small_resnet", len(CLASSES), use_blurpool=False).state_dict()
    torch.save({"config": config, "model": state, "classes": list(CLASSES)}, tmp_path / "other.pt")
    straight, _ = evaluate(model__ensemble=f"{trained}, {tmp_path / 'other.pt'}")
    for name in ("fc.weight", "fc.bias"):
        state[name] = state[name].flip(0)
    torch.save({"config": config, "model": state, "classes": list(CLASSES[::-1])}, tmp_path / "flipped.pt")
    flipped, _ = evaluate(model__ensemble=f"{trained}, {tmp_path / 'flipped.pt'}")
    assert flipped["val_loss"] == pytest.approx(straight["val_loss"], rel=1e-6)
    blurred = {**config, "training": {"use_blurpool": True}}
    torch.save({"config": blurred, "model": state, "classes": list(CLASSES[::-1])}, tmp_path / "blurred.pt")
    other, _ = evaluate(model__ensemble=f"{trained}, {tmp_path / 'blurred.pt'}")
    assert other["val_loss"] != pytest.approx(straight["val_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^model\.ensemble: .*nosuch\.pt does not exist"),
        (["another", *CLASSES[1:]], r"^model\.ensemble: .*give data of the same classes"),
    ],
)
def test_member_that_does_not_fit_is_refused(
    evaluate: Any, tmp_path: Path, content: list[str] | None, message: str
) -> None:
    path = tmp_path / "nosuch.pt"
    if content:
        state = build_model("small_resnet", len(content), use_blurpool=True).state_dict()
        torch.save(with_classes(state, content), path)
    with pytest.raises(UserError, match=message):
        evaluate(model__ensemble=path)
