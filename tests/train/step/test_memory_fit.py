"""A device takes as much of the global batch as its memory holds, and trying that out leaves no trace."""

import pytest
import torch
from torch import nn

from engine.config.choices import OPTIMIZERS, names
from engine.errors import UserError
from engine.train.batching import BatchPlan
from engine.train.step import memory_fit
from engine.train.step.memory_fit import fit_plans, rehearse
from engine.train.step.step import Step
from tests.train.conftest import train_here
from tests.train.steps import ALONE, batches, network, recipe, step_of, take, weights
from tests.train.test_run import Options

PLANS = {128: BatchPlan(4096, 512, 1, 8), 224: BatchPlan(4096, 256, 2, 8)}


def test_batch_that_does_not_fit_is_accumulated() -> None:
    fitted = fit_plans(PLANS, lambda count, side: count * side**2 <= 130 * 224**2)
    assert fitted[128] == BatchPlan(4096, 256, 2, 8)
    assert fitted[224] == BatchPlan(4096, 128, 4, 8)
    assert fit_plans(PLANS, lambda count, side: True) == PLANS


def test_device_batches_divide_the_share_evenly() -> None:
    assert fit_plans({64: BatchPlan(30, 30, 1, 1)}, lambda count, side: count <= 8)[64].device_batch == 6


def test_device_without_memory_for_one_image_is_refused() -> None:
    with pytest.raises(UserError, match=r"has no memory for a step over one image of 224 px"):
        fit_plans(PLANS, lambda count, side: side == 128)


@pytest.mark.parametrize(
    "options",
    [{}, {"sam_rho": 0.05, "sam_interval": 4}, {"ema_half_life": 3}, {"nonfinite": "skip", "clip_norm": 1}]
    + [{"optimizer": name} for name in names(OPTIMIZERS)],
    ids=str,
)
def test_rehearsal_leaves_state_unchanged(options: dict[str, object]) -> None:
    plain, rehearsed = (step_of(recipe(weight_decay=1e-3, **options), network()) for _ in range(2))
    for _ in range(2):
        rehearse(rehearsed, 4, 8)
    assert not rehearsed.optimizer.state
    assert take(plain, batches(5)) == take(rehearsed, batches(5))
    for one, other in ((plain.model, rehearsed.model), *_averages(plain, rehearsed)):
        for name, value in weights(one).items():
            assert torch.equal(value, weights(other)[name]), name


def _averages(plain: Step, rehearsed: Step) -> list[tuple[nn.Module, nn.Module]]:
    return [(plain.ema.model, rehearsed.ema.model)] if plain.ema and rehearsed.ema else []


def test_rehearsal_includes_the_second_sam_pass() -> None:
    step = step_of(recipe(sam_rho=0.05, sam_interval=4), network())
    passes = []
    step.model.register_forward_hook(lambda *_: passes.append(1))
    rehearse(step, 4, 8)
    assert len(passes) == 2


def test_fit_memory_on_a_cpu_has_no_effect(options: Options) -> None:
    code, _ = train_here(options(training__fit_memory=True, training__epochs=1, lr__lr_peak_epoch=0.5))
    assert code == 0


@pytest.mark.gpu
def test_small_gpu_accumulates_to_the_same_global_batch(
    options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 1.5e9 / total))
    try:
        code, _ = train_here(
            options(
                model__arch="resnet50", training__device="cuda", training__fit_memory=True,
                training__batch_size=96, training__epochs=1, lr__lr_peak_epoch=0.5,
                resolution__min_res=128, resolution__max_res=128, validation__batch_size=8,
            )
        )  # fmt: skip
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert code == 0
    printed = capsys.readouterr().out
    assert "global batch 96 = " in printed and "global batch 96 = 96 " not in printed


@pytest.mark.parametrize(
    ("error", "lacking"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_only_lack_of_memory_counts_as_not_fitting(
    monkeypatch: pytest.MonkeyPatch, error: RuntimeError, lacking: bool
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(memory_fit, "rehearse", fail)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    step = step_of(recipe(), network())
    if lacking:
        assert not memory_fit.fits_in_memory(step, ALONE, 4, 8)
    else:
        with pytest.raises(RuntimeError, match="shapes"):
            memory_fit.fits_in_memory(step, ALONE, 4, 8)
