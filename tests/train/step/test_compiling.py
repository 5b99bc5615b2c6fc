"""torch.compile: the same training as without, one shape at a time, and no compiler is one line."""

import copy
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config.options import options_of
from engine.config.train.training import TrainingConfig
from engine.errors import UserError
from engine.train.ranks.group import Ranks
from engine.train.step.compiling import CompiledForward, _keep_on_disk, _without_torch_warnings, compiles
from engine.train.step.precision import Precision
from tests.train.conftest import Launch, log_of, train_here
from tests.train.steps import ALONE, CPU, batches, network, recipe, step_of, take, weights


@pytest.fixture(autouse=True)
def fresh(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that was compiled before is found."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.parametrize("combo_kernels", [False, True])
def test_compiled_training_equals_plain_training(
    combo_kernels: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, compiled = network(), network()
    parts = batches(3, size=8)
    odd = batches(1, size=5, seed=9)
    expected = take(step_of(recipe(sam_rho=0.1, sam_interval=2), plain), [*parts, *odd])
    options = {"compile": True, "combo_kernels": combo_kernels, "channels_last": False}
    step = step_of(recipe(sam_rho=0.1, sam_interval=2, **options), compiled)
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


def test_combo_kernels_are_inductors_option(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def compiled(model: torch.nn.Module, **options: Any) -> torch.nn.Module:
        asked.append(options)
        return model

    monkeypatch.setattr(torch, "compile", compiled)
    for on in (False, True):
        step_of(recipe(compile=True, combo_kernels=on), network()).prepare(4, 8)
    assert [options["options"] for options in asked] == [None, {"combo_kernels": True}]
    with pytest.raises(UserError, match=r"no effect with training\.compile=off: drop one"):
        recipe(compile=False, combo_kernels=True)


def test_auto_compiles_on_gpus_only() -> None:
    assert [compiles("auto", torch.device(kind)) for kind in ("cuda", "cpu")] == [True, False]
    assert all(compiles("on", torch.device(kind)) for kind in ("cuda", "cpu"))
    assert not any(compiles("off", torch.device(kind)) for kind in ("cuda", "cpu"))


@pytest.mark.parametrize(("given", "meant"), [(True, "on"), ("false", "off"), ("ON", "on"), ("auto", "auto")])
def test_compile_takes_truth_values_as_on_and_off(given: object, meant: str) -> None:
    assert TrainingConfig(compile=options_of(TrainingConfig)["compile"].parse(given)).compile == meant


@dataclass(frozen=True, kw_only=True)
class TwoRanks(Ranks):
    """One of two ranks of a host; the other one says `others`, a word for each time that they meet."""

    others: list[str]
    told: list[str] = field(default_factory=list)

    def all_say(self, value: Any) -> list[Any]:
        self.told.append("met")
        return [self.others.pop(0), value]


@pytest.mark.parametrize(
    ("local_rank", "others", "expected"),
    [
        (0, ["", ""], ["compiled", "met", "met"]),
        (1, ["", ""], ["met", "compiled", "met"]),
        (1, ["no compiler", ""], ["met", "met"]),
    ],
    ids=["the first rank", "the second after it", "not where it failed"],
)
def test_one_rank_of_a_host_compiles_before_the_others(
    monkeypatch: pytest.MonkeyPatch, local_rank: int, others: list[str], expected: list[str]
) -> None:
    ranks = TwoRanks(**{**vars(ALONE), "local_rank": local_rank, "world": 2, "local_world": 2}, others=others)

    def compile_here(*_: object) -> str:
        ranks.told.append("compiled")
        return ""

    monkeypatch.setattr(CompiledForward, "_compile", compile_here)
    forward = CompiledForward(network(), ranks, Precision("fp32", CPU), channels_last=False, variations=list)
    forward.prepare(8, 8)
    assert ranks.told == expected
    again = forward.prepare(8, 16) if "compiled" not in expected else 0.0
    assert again == 0 and ranks.told == expected, "where one failed no rank tries again"


def test_compiled_code_is_kept_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _keep_on_disk()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "imagenet-engine" / "inductor")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "chosen")
    _keep_on_disk()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "chosen"


def test_user_without_a_home_keeps_compiled_code_in_tmp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch 2.7 asks for the user's name there, and Triton writes into the root or the working folder."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    # Set here first, so that monkeypatch restores them after the test changes them.
    monkeypatch.setenv("TRITON_CACHE_DIR", "")
    monkeypatch.delenv("TRITON_CACHE_DIR")
    monkeypatch.delenv("TRITON_HOME", raising=False)
    for name, value in (("XDG_CACHE_HOME", ""), ("HOME", "/dev/null")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _keep_on_disk()
    uid = os.getuid()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == f"{tmp_path}/imagenet-engine-inductor-{uid}"
    assert os.environ["TRITON_CACHE_DIR"] == f"{tmp_path}/imagenet-engine-triton-{uid}"
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in tmp_path.iterdir())
    monkeypatch.setenv("HOME", str(Path.cwd()))
    monkeypatch.delenv("TRITON_CACHE_DIR")
    _keep_on_disk()
    assert "TRITON_CACHE_DIR" not in os.environ


@pytest.mark.slow
def test_two_ranks_compile_and_train(
    options: Callable[..., list[str]], launch: Launch, tmp_path: Path
) -> None:
    stages = {"resolution__schedule": "stages", "resolution__stages": "16x1, 24x1"}
    run = launch(options(training__compile=True, training__epochs=2, logging__name="two", **stages), ranks=2)
    assert run.returncode == 0, run.stderr
    # Both resolutions, and validation.
    assert run.stdout.count("compiled in") == 3 and "does not work" not in run.stdout
    epochs = log_of(tmp_path / "runs" / "two", "epoch")
    assert [epoch["compile_seconds"] > 0 for epoch in epochs] == [True, True]


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
    assert told.count("compiling for 16 images of") == 2
    assert told.count("compiling validation for 16 images of 32 px") == 1
    assert told.count("compiled in") == 3


@pytest.mark.slow
def test_missing_compiler_prints_a_note_and_trains(capsys: pytest.CaptureFixture[str]) -> None:
    model, plain = network(), network()
    step = step_of(recipe(compile=True), model)
    # Not by monkeypatch, which leaves the setting without a value.
    with torch._inductor.config.patch({"cpp.cxx": (None, "/nowhere/g++")}):
        assert step.prepare(8, 8) > 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("note: training.compile does not work here (")
    assert "compiler" in lines[1] and "training without it" in lines[1]
    assert step.prepare(8, 16) == 0, "it is tried once"
    assert take(step, batches(2)) == take(step_of(recipe(), plain), batches(2))
