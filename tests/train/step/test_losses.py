"""Each loss against the formula in NumPy or timm's, on labels and on soft targets; distillation against Hinton's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.loss.binary_cross_entropy import BinaryCrossEntropy

from engine.config.train.train_config import DataConfig, LossConfig, TrainConfig, TrainingConfig
from engine.errors import UserError
from engine.models.build import build_model
from engine.train.checkpoints.weights_file import with_classes
from engine.train.step.losses import LOSSES, Objective, distillation

CLASSES = 7
CPU = torch.device("cpu")


def _config(smoothing: float = 0.0, **loss: Any) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(train_dataset="a", val_dataset="b"),
        training=TrainingConfig(label_smoothing=smoothing),
        loss=LossConfig(**loss),
    )


def _logits() -> torch.Tensor:
    return torch.randn(12, CLASSES, generator=torch.Generator().manual_seed(0)) * 3


def _targets(kind: str) -> torch.Tensor:
    labels = torch.arange(12) % CLASSES
    if kind == "labels":
        return labels
    hot = torch.nn.functional.one_hot(labels, CLASSES).float()
    return 0.7 * hot + 0.3 * hot.flip(0)


def _soft(targets: torch.Tensor, smoothing: float) -> np.ndarray:
    soft = np.eye(CLASSES)[targets.numpy()] if targets.ndim == 1 else targets.double().numpy()
    return soft * (1 - smoothing) + smoothing / CLASSES


@pytest.mark.parametrize("kind", ["labels", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_matches_its_formula(kind: str, smoothing: float) -> None:
    logits, targets = _logits(), _targets(kind)
    ours = LOSSES["cross-entropy"](_config(smoothing))(logits, targets)
    values = logits.double().numpy()
    log_softmax = values - np.log(np.exp(values).sum(1, keepdims=True))
    assert ours.item() == pytest.approx(-(_soft(targets, smoothing) * log_softmax).sum(1).mean(), rel=1e-5)


@pytest.mark.parametrize("kind", ["labels", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("added_up", [False, True])
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.2])
def test_bce_matches_its_formula(kind: str, smoothing: float, added_up: bool, threshold: float) -> None:
    logits, targets = _logits(), _targets(kind)
    config = _config(smoothing, name="bce", bce_sum=added_up, bce_threshold=threshold)
    soft, values = _soft(targets, smoothing), logits.double().numpy()
    if threshold >= 0:
        soft = (soft > threshold).astype(float)
    each = -(soft * -np.log1p(np.exp(-values)) + (1 - soft) * -np.log1p(np.exp(values)))
    expected = each.sum(1).mean() if added_up else each.mean()
    assert LOSSES["bce"](config)(logits, targets).item() == pytest.approx(expected, rel=1e-5)


WEIGHTS = torch.tensor([0.2, 3.0, 1.0, 0.0, 1.0, 0.5, 2.0])


@pytest.mark.parametrize("kind", ["labels", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_cross_entropy_leaves_smoothing_alone(kind: str, smoothing: float) -> None:
    logits, targets = _logits(), _targets(kind)
    ours = LOSSES["cross-entropy"](_config(smoothing), WEIGHTS)(logits, targets)
    log_softmax = logits.double().log_softmax(1).numpy()
    aimed = _soft(targets, 0) * WEIGHTS.numpy() * (1 - smoothing) + smoothing / CLASSES
    assert ours.item() == pytest.approx(-(aimed * log_softmax).sum(1).mean(), rel=1e-5)


@pytest.mark.parametrize("kind", ["labels", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("added_up", [False, True])
@pytest.mark.parametrize("threshold", [-1.0, 0.2])
def test_weighted_bce_leaves_smoothing_alone(
    kind: str, smoothing: float, added_up: bool, threshold: float
) -> None:
    logits, targets = _logits(), _targets(kind)
    config = _config(smoothing, name="bce", bce_sum=added_up, bce_threshold=threshold)
    values, weight = logits.double().numpy(), _soft(targets, 0) @ WEIGHTS.double().numpy()

    def bce(soft: np.ndarray) -> np.ndarray:
        return np.asarray(soft * np.log1p(np.exp(-values)) + (1 - soft) * np.log1p(np.exp(values)))

    if threshold >= 0:
        each = weight[:, None] * bce((_soft(targets, smoothing) > threshold).astype(float))
    else:
        spread = bce(np.full_like(values, 1 / CLASSES))
        each = (1 - smoothing) * weight[:, None] * bce(_soft(targets, 0)) + smoothing * spread
    expected = each.sum(1).mean() if added_up else each.mean()
    assert LOSSES["bce"](config, WEIGHTS)(logits, targets).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("added_up", "threshold"), [(False, None), (True, None), (False, 0.2)])
def test_bce_on_labels_matches_timm(added_up: bool, threshold: float | None) -> None:
    theirs = BinaryCrossEntropy(smoothing=0.1, target_threshold=threshold, sum_classes=added_up)
    config = _config(0.1, name="bce", bce_sum=added_up, bce_threshold=-1 if threshold is None else threshold)
    ours = LOSSES["bce"](config)(_logits(), _targets("labels"))
    assert ours.item() == pytest.approx(theirs(_logits(), _targets("labels")).item(), rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_matches_hinton(temperature: float) -> None:
    student, teacher = _logits(), _logits().flip(0)

    def softmax(values: torch.Tensor) -> np.ndarray:
        powers = np.exp(values.double().numpy() / temperature)
        return np.asarray(powers / powers.sum(1, keepdims=True))

    p, q = softmax(teacher), softmax(student)
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    assert distillation(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-5)
    assert distillation(student, student, temperature).item() == pytest.approx(0, abs=1e-5)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    torch.save(build_model("small_resnet", CLASSES, use_blurpool=False).state_dict(), tmp_path / "teacher.pt")
    return tmp_path / "teacher.pt"


def test_teacher_has_its_share_in_eval_mode_and_stays_unchanged(teacher: Path) -> None:
    config = _config(
        0.1, teacher=str(teacher), teacher_arch="small_resnet", distill_alpha=0.25, distill_temperature=2.0
    )
    images, targets = torch.randn(12, 3, 16, 16), _targets("soft")
    logits = _logits().requires_grad_()
    objective = Objective(config, CLASSES, CPU)
    loss = objective(images, logits, targets)
    model = build_model("small_resnet", CLASSES, use_blurpool=False).eval()
    model.load_state_dict(torch.load(teacher, weights_only=True))
    with torch.no_grad():
        taught = model(images)
        plain = Objective(_config(0.1), CLASSES, CPU)(images, logits, targets)
        expected = 0.75 * plain + 0.25 * distillation(logits, taught, 2.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert objective(images, logits, targets).item() == loss.item(), "its statistics have not moved"


def test_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    state = build_model("small_resnet", CLASSES, use_blurpool=False).state_dict()
    names = [f"class {number}" for number in range(CLASSES)]
    torch.save(with_classes(state, names), tmp_path / "teacher.pt")
    config = _config(teacher=str(tmp_path / "teacher.pt"), teacher_arch="small_resnet")
    Objective(config, CLASSES, CPU, names)
    with pytest.raises(
        UserError, match=r"^loss.teacher: .*give data of the same classes or go by numbers alone with"
    ):
        Objective(config, CLASSES, CPU, ["another", *names[1:]])
    by_number = replace(config, model=replace(config.model, match_classes=False))
    Objective(by_number, CLASSES, CPU, ["another", *names[1:]])
    # The same classes in another order are taken by name.
    Objective(config, CLASSES, CPU, names[::-1])


def test_teacher_that_does_not_fit_is_refused(teacher: Path) -> None:
    with pytest.raises(UserError, match="does not fit this network"):
        Objective(_config(teacher=str(teacher), teacher_arch="small_resnet"), CLASSES + 1, CPU)
    with pytest.raises(UserError, match=r"loss\.teacher_arch is not set"):
        Objective(_config(teacher=str(teacher)), CLASSES, CPU)
    with pytest.raises(UserError, match=r"loss\.teacher_arch has no effect without loss\.teacher"):
        _config(teacher_arch="small_resnet")
    with pytest.raises(UserError, match=r"have no effect with loss.name=cross-entropy"):
        _config(bce_sum=True)
