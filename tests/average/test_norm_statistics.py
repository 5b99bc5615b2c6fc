"""Batch norm's statistics against torch.optim.swa_utils.update_bn, and against those of the activations themselves."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from engine.average.norm_statistics import norms_with_statistics, recompute_statistics
from engine.models.build import build_model
from engine.train.step.precision import Precision

FP32 = Precision("fp32", torch.device("cpu"))


def _batches() -> list[torch.Tensor]:
    return [torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


def test_statistics_match_torchs_update_bn() -> None:
    ours = build_model("small_resnet", 4, use_blurpool=False)
    theirs = copy.deepcopy(ours)
    assert recompute_statistics(ours, _batches(), FP32) == 18
    update_bn(_batches(), theirs)
    for (name, value), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-6, atol=1e-7, msg=name)
    assert not ours.training and {norm.momentum for norm in norms_with_statistics(ours)} == {0.1}


def test_dropout_stays_off_while_statistics_are_computed() -> None:
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(nn.Dropout(0.9), norm)
    recompute_statistics(model, _batches(), FP32)
    mean = torch.stack(_batches()).mean((0, 1, 3, 4))
    torch.testing.assert_close(norm.running_mean, mean)


def test_failed_pass_leaves_the_norms_as_they_train() -> None:
    model = build_model("small_resnet", 4, use_blurpool=False)
    try:
        recompute_statistics(model, [torch.zeros(2, 5, 16, 16)], FP32)
    except RuntimeError:
        pass
    else:
        raise AssertionError("a batch of five channels")
    assert not model.training and {norm.momentum for norm in norms_with_statistics(model)} == {0.1}
