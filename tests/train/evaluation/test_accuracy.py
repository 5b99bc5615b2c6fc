"""Accuracy is counted exactly; TTA averages probabilities, which is not the same as averaging logits."""

import numpy as np
import pytest
import torch
from torch import nn

from engine.data.loading.loader import Batch
from engine.errors import UserError
from engine.train.evaluation.accuracy import Accuracy, BySample, Counter, predictions
from engine.train.ranks.group import Ranks
from engine.train.step.precision import Precision

CPU = torch.device("cpu")
ALONE = Ranks(rank=0, world=1, local_rank=0, local_world=1, device=CPU)


class PixelLogits(nn.Module):
    """Each image's logits are written in its first row's left half; those of its mirror image in the right half."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0, 0, : self.classes]


def _images(logits: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
    row = torch.cat([logits, mirrored.flip(1)], dim=1)
    return row[:, None, None, :].expand(-1, 3, 4, -1).contiguous()


def _evaluate(
    logits: torch.Tensor, mirrored: torch.Tensor, labels: torch.Tensor, *, tta: bool, parts: int = 1
) -> Accuracy:
    images = _images(logits, mirrored)
    batches = [
        Batch(chunk, part, np.arange(len(part)))
        for chunk, part in zip(images.chunk(parts), labels.chunk(parts), strict=True)
    ]
    model, counter = PixelLogits(logits.shape[1]), Counter(ALONE, logits.shape[1])
    counter.take(predictions(model, batches, tta=tta, precision=Precision("fp32", CPU)))
    return counter.accuracy(len(labels))


def test_top1_top5_and_loss_match_a_loop() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(101, 10, generator=random)
    labels = torch.randint(0, 10, (101,), generator=random)
    order = logits.argsort(1, descending=True)
    top1 = sum(int(order[i, 0] == labels[i]) for i in range(101)) / 101
    top5 = sum(int(labels[i] in order[i, :5]) for i in range(101)) / 101
    measured = _evaluate(logits, logits, labels, tta=False, parts=3)
    assert (measured.top1, measured.top5, measured.count) == (top1, top5, 101)
    assert measured.loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-5)


def test_tta_averages_probabilities_not_logits() -> None:
    # By logits class 1 wins (0 + 6 over 4 + 1.5); by probabilities class 0 does (0.98 + 0.01 over 0.02 + 0.96).
    logits, mirrored = torch.tensor([[4.0, 0.0, -9.0]]), torch.tensor([[0.0, 5.0, 4.99]])
    by_logits = (logits + mirrored).argmax()
    by_probability = (logits.softmax(1) + mirrored.softmax(1)).argmax()
    assert by_logits != by_probability
    measured = _evaluate(logits, mirrored, by_probability[None], tta=True)
    assert measured.top1 == 1.0


def test_accuracy_without_tta_is_counted_too() -> None:
    logits, mirrored = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 5.0, 0.0]])
    measured = _evaluate(logits, mirrored, torch.tensor([1]), tta=True)
    assert (measured.top1, measured.top1_no_tta) == (1.0, 0.0)


def test_top5_of_fewer_classes_uses_all_of_them() -> None:
    measured = _evaluate(torch.eye(3), torch.eye(3), torch.tensor([2, 1, 0]), tta=False)
    assert measured.top1 == pytest.approx(1 / 3)
    assert measured.top5 == 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nonfinite_outputs_count_as_wrong(bad: float) -> None:
    # torch takes the first NaN for the largest: all four would be of class 0.
    logits = torch.eye(6)[[0, 0, 1, 2]]
    broken, labels = logits.clone(), torch.tensor([0, 0, 1, 2])
    broken[0], broken[2, 4] = bad, bad
    measured = _evaluate(broken, logits, labels, tta=False)
    assert (measured.top1, measured.top5, measured.nonfinite) == (0.5, 0.5, 2)
    assert measured.doubt == "(outputs not finite on 2 of 4 images, which count as wrong)"
    of_mirror = _evaluate(logits, broken, labels, tta=True)
    assert (of_mirror.top1, of_mirror.top1_no_tta, of_mirror.nonfinite) == (0.5, 1.0, 2)
    assert _evaluate(logits, logits, labels, tta=True).doubt == ""


def test_logit_of_minus_infinity_is_allowed() -> None:
    measured = _evaluate(torch.tensor([[1.0, -torch.inf]]), torch.zeros(1, 2), torch.tensor([0]), tta=False)
    assert (measured.top1, measured.nonfinite) == (1.0, 0)


def test_counting_copies_nothing_from_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU torch.tensor(number, device=...) makes the host wait for each validation batch."""
    batch = Batch(_images(torch.eye(3), torch.eye(3)), torch.arange(3), np.arange(3))
    counter = Counter(ALONE, 3)
    predicted = list(predictions(PixelLogits(3), [batch], tta=False, precision=Precision("fp32", CPU)))
    with monkeypatch.context() as patched:
        patched.setattr(torch, "tensor", lambda *_, **__: pytest.fail("copied from the host"))
        counter.take(predicted)
    assert counter.accuracy(3).count == 3


def test_loss_of_confident_mistakes_is_not_capped() -> None:
    logits, labels = torch.tensor([[200.0, 0.0], [0.0, 50.0]]), torch.tensor([1, 0])
    measured = _evaluate(logits, logits, labels, tta=False)
    assert measured.loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels)))
    assert _evaluate(logits, logits, labels, tta=True).loss == pytest.approx(measured.loss)


@pytest.mark.parametrize("parts", [1, 2])
def test_classes_of_very_different_sizes_have_a_mean_over_classes(parts: int) -> None:
    """11 images of class 0, two of class 2 and none of class 1, all taken for class 0 but one of class 2."""
    logits, labels = torch.eye(3)[[0] * 12 + [2]], torch.tensor([0] * 11 + [2, 2])
    measured = _evaluate(logits, logits, labels, tta=False, parts=parts)
    assert measured.top1 == pytest.approx(12 / 13)
    assert measured.mean_class_top1 == 0.75
    assert "75.00% in the mean over classes" in measured.doubt
    even = _evaluate(logits[1:], logits[1:], labels[1:], tta=False)
    assert even.mean_class_top1 is None, "ten are five times two"


def test_missing_or_repeated_sample_is_an_error() -> None:
    batch = Batch(_images(torch.eye(3), torch.eye(3)), torch.arange(3), np.arange(3))
    counter = Counter(ALONE, 3)
    counter.take(predictions(PixelLogits(3), [batch, batch], tta=False, precision=Precision("fp32", CPU)))
    with pytest.raises(UserError, match="counted 6 samples where 3"):
        counter.accuracy(3)


def test_sample_counted_twice_is_an_error() -> None:
    table = BySample(5, 1, ALONE)
    table.put(np.array([4, 0]), torch.tensor([True, False]))
    samples, (values,) = table.gather()
    assert (samples.tolist(), values.tolist()) == ([0, 4], [0, 1])
    table.put(np.array([4]), torch.tensor([True]))
    with pytest.raises(UserError, match="met sample 4 2 times"):
        table.gather()
