"""torch.compile: the same training as without, one shape at a time, and no compiler is one line."""

import copy
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch

from engine.train.step.compiling import _without_torch_warnings
from tests.train.conftest import log_of, train_here
from tests.train.steps import batches, network, recipe, step_of, take, weights


@pytest.fixture(autouse=True)
def fresh(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that was compiled before is found."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.slow
def test_compiled_training_equals_plain_training(capsys: pytest.CaptureFixture[str]) -> None:
    plain, compiled = network(), network()
    parts = batches(3, size=8)
    odd = batches(1, size=5, seed=9)
    expected = take(step_of(recipe(sam_rho=0.1, sam_interval=2), plain), [*parts, *odd])
    step = step_of(recipe(sam_rho=0.1, sam_interval=2, compile=True, channels_last=False), compiled)
    before = weights(compiled)
    assert step.prepare(8, 8) > 0
    assert all(torch.equal(value, before[name]) for name, value in compiled.state_dict().items())
    assert all(weight.grad is None for weight in compiled.parameters())
    assert step.prepare(8, 8) == 0, "it is ready"
    counters = copy.deepcopy(torch._dynamo.utils.counters["stats"])
    taken = take(step, [*parts, *odd])
    assert torch._dynamo.utils.counters["stats"] == counters, "the steps compiled nothing more"
    assert [loss for loss, _ in taken] == pytest.approx([loss for loss, _ in expected], rel=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "compiling for 8 images of 8 px on each device"
    assert told[1].startswith("compiled in ") and len(told) == 2


def test_torch_warnings_of_compiling_are_dropped_others_pass() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with _without_torch_warnings():
            warnings.warn("`torch.jit.script_method` is deprecated. Please", DeprecationWarning, stacklevel=1)
            warnings.warn("TensorFloat32 tensor cores for float32 matrix multiplication", stacklevel=1)
            warnings.warn("something else", stacklevel=1)
    assert [str(one.message) for one in seen] == ["something else"]


@pytest.mark.slow
def test_run_compiles_once_per_resolution_and_logs_the_time(
    options: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    stages = {"resolution__schedule": "stages", "resolution__stages": "16x2, 24x1"}
    _, folder = train_here(options(training__compile=True, **stages))
    epochs = log_of(folder, "epoch")
    assert [entry["compile_seconds"] > 0 for entry in epochs] == [True, False, True]
    first = epochs[0]
    apart = first["compile_seconds"] + first["train_seconds"] + first["val_seconds"]
    assert apart <= first["elapsed_seconds"], "none is part of another"
    told = capsys.readouterr().out
    assert told.count("compiling for 16 images of") == told.count("compiled in") == 2


@pytest.mark.slow
def test_missing_compiler_prints_a_note_and_trains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "/nowhere/g++"))
    model, plain = network(), network()
    step = step_of(recipe(compile=True), model)
    assert step.prepare(8, 8) > 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("note: training.compile does not work here (")
    assert "compiler" in lines[1] and "training without it" in lines[1]
    assert step.prepare(8, 16) == 0, "it is tried once"
    assert take(step, batches(2)) == take(step_of(recipe(), plain), batches(2))
