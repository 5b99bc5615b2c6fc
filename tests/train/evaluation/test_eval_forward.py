"""Validation sees batches of one size, compiled once for a network and its average; what fills them up never counts."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.config.load import load_train_config
from engine.data.beton.reader import open_beton
from engine.data.loading.loader import Batch
from engine.models.build import build_model
from engine.train.evaluation.accuracy import BySample, Counter, predictions
from engine.train.evaluation.eval_forward import EvalForward
from engine.train.evaluation.validator import Validator, own_conditions
from engine.train.open_loader import open_loader
from engine.train.ranks.group import Ranks
from engine.train.step.compiling import CompiledForward
from engine.train.step.precision import Precision
from engine.train.step.weight_average import Ema
from tests.train.conftest import log_of, train_here
from tests.train.step.test_no_waiting import synchronising_forbidden, waits
from tests.train.steps import ALONE

Open = Callable[..., Validator]

_GPU = Ranks(rank=0, world=1, local_rank=0, local_world=1, device=torch.device("cuda", 0))


@pytest.fixture
def validator(options: Callable[..., list[str]]) -> Iterator[Open]:
    """Opens one on the 37 images of val, in batches of 16: the last has 5."""
    loaders = []

    def build(ranks: Ranks = ALONE, **changes: Any) -> Validator:
        config = load_train_config(options(**changes))[0]
        precision = Precision("fp32", ranks.device)
        beton = open_beton(Path(config.data.val_dataset))
        loaders.append(open_loader(config, ranks, precision, beton, training=False, in_memory=False))
        return Validator(config, ranks, precision, loaders[-1])

    yield build
    for loader in loaders:
        loader.close()


class Meeting(nn.Module):
    """A network that notes the shapes of its batches."""

    def __init__(self, device: torch.device = ALONE.device) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.network = build_model("small_resnet", 6, use_blurpool=True).to(device)
        self.met: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.met.append(tuple(images.shape))
        logits: torch.Tensor = self.network(images)
        return logits


def _tiny() -> nn.Sequential:
    """One that is quick to compile."""
    torch.manual_seed(3)
    norm = nn.BatchNorm2d(8)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), norm, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 15 * 15, 6))


def _as_if_compiled(validator: Validator) -> Validator:
    """Without the time of compiling: the plain pass in place of the compiled one."""
    validator.forward._works = True
    validator.forward._sides.add(validator.validation.resolution)
    return validator


def _rows(validator: Validator, model: nn.Module) -> tuple[Any, Any]:
    """The accuracy, and every image's probabilities with and without TTA."""
    table = BySample(37, 12, validator.ranks)
    (accuracy,) = validator.measure(
        model,
        [own_conditions(validator.validation)],
        lambda _, batch, final, plain: table.put(batch.ids, *final.T, *plain.T),
    )
    return accuracy, table.gather()


@pytest.mark.parametrize("tta", [False, True])
def test_filled_up_batches_change_no_figure(validator: Open, tta: bool) -> None:
    """To the bit: on a CPU no result of this network's convolutions depends on the batch they are in."""
    plain, filled = (validator(validation__lr_tta=tta) for _ in range(2))
    model = Meeting()
    expected, (samples, rows) = _rows(plain, model)
    assert {count for count, *_ in model.met} == {16, 5}, "on a CPU nothing is filled up that is not compiled"
    model.met.clear()
    found, (same_samples, same_rows) = _rows(_as_if_compiled(filled), model)
    assert set(model.met) == {(16, 3, 32, 32)}
    assert found == expected
    np.testing.assert_array_equal(same_samples, samples)
    np.testing.assert_array_equal(same_rows, rows)


def test_batches_of_a_small_file_are_no_larger_than_it(validator: Open) -> None:
    model = Meeting()
    _rows(_as_if_compiled(validator(validation__batch_size=512)), model)
    assert set(model.met) == {(37, 3, 32, 32)}


def test_only_validations_after_epochs_are_compiled(validator: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain accuracy, a search and training.eval_only measure a resolution once: compiling takes longer."""
    one = validator(training__compile=True)
    model = Meeting()
    one.plain_accuracy(model)
    one.measure(model, [own_conditions(one.validation)])
    assert one.compile_seconds == 0
    monkeypatch.setattr(one.forward, "prepare", lambda _, side: float(side))
    one.accuracy(model)
    assert one.compile_seconds == 32


def test_network_and_its_average_share_one_compiled_validation(
    validator: Open, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Traced as ever; making code takes a minute.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch.compiler.reset()
    model = _tiny()
    ema = Ema(model, half_life=1, every=1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.9)
    plain, compiled = validator(), validator(training__compile=True)
    stats = torch._dynamo.utils.counters["stats"]
    stats.clear()
    capsys.readouterr()
    for network in (model, ema.model, model):
        assert compiled.accuracy(network) == plain.accuracy(network)
    assert stats["unique_graphs"] == 1
    assert compiled.compile_seconds > 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "compiling validation for 16 images of 32 px on each device"
    assert len(told) == 2 and told[1].startswith("compiled in ")
    # Training compiles one resolution after the other, and throws nothing of validation away.
    training = CompiledForward(
        model.train(),
        ALONE,
        Precision("fp32", ALONE.device),
        channels_last=True,
        variations=lambda: [nullcontext()],
    )
    training.prepare(4, 32)
    before = stats["unique_graphs"]
    compiled.accuracy(model)
    assert stats["unique_graphs"] == before == 2
    torch.compiler.reset()


@pytest.mark.slow
def test_compiled_validation_equals_plain_validation(
    validator: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    model = _tiny()
    found, expected = validator(training__compile=True).accuracy(model), validator().accuracy(model)
    # The compiler fuses operations, and rounds in another order.
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert (found.top1, found.count) == (expected.top1, 37)
    torch.compiler.reset()


def test_missing_compiler_prints_a_note_and_validates(
    validator: Open, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    one, model = validator(training__compile=True), _tiny()
    capsys.readouterr()
    with torch._inductor.config.patch({"cpp.cxx": (None, "/nowhere/g++")}):
        found = one.accuracy(model)
    assert found == validator().accuracy(model)
    told = capsys.readouterr().out.splitlines()
    assert told[1].startswith("note: training.compile does not work here (")
    assert told[1].endswith("): validating without it")
    seconds = one.compile_seconds
    one.accuracy(model)
    assert one.compile_seconds == seconds, "it is tried once"
    torch.compiler.reset()


def test_run_logs_the_compile_time_of_validation_apart(
    options: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([1000.0])
    monkeypatch.setattr(EvalForward, "prepare", lambda *_: next(seconds, 0.0))
    _, folder = train_here(options(training__epochs=2, lr__lr_peak_epoch=0.5))
    first, second = log_of(folder, "epoch")
    assert (first["compile_seconds"], second["compile_seconds"]) == (1000, 0)
    assert first["val_seconds"] < 0 < second["val_seconds"], "taken off, though it was none"


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_gpu_validation_sees_one_shape_and_equals_the_cpus(validator: Open, compiled: bool) -> None:
    one, model = validator(_GPU, training__device="cuda", training__compile=compiled), Meeting(_GPU.device)
    # What notes its batches is another network with each of them, to the compiler.
    found = one.accuracy(model.network if compiled else model)
    assert {count for count, *_ in model.met} == (set() if compiled else {16})
    assert found.loss == pytest.approx(validator().accuracy(Meeting()).loss, rel=1e-3)


@pytest.mark.parametrize("tta", [False, True])
def test_validation_never_waits_for_the_device(validator: Open, tta: bool) -> None:
    one, model = validator(), Meeting().eval()
    random = torch.Generator().manual_seed(0)
    batches = [
        Batch(torch.randn(n, 3, 32, 32, generator=random), torch.arange(n) % 6, np.arange(n)) for n in (16, 5)
    ]
    counter, table = Counter(ALONE, 6), BySample(16, 6, ALONE)
    predicted = predictions(one.forward.of(model), batches, tta=tta, precision=one.precision)
    with waits() as found:
        counter.take(predicted, lambda batch, final, _: table.put(batch.ids, *final.T))
    assert not found and counter.accuracy(21).count == 21


@pytest.mark.gpu
@pytest.mark.parametrize("tta", [False, True])
def test_gpu_validation_never_synchronises(validator: Open, tta: bool) -> None:
    one, model = (
        validator(_GPU, training__device="cuda", validation__lr_tta=tta),
        Meeting(_GPU.device).network,
    )
    one.accuracy(model)
    (batches,), conditions = one._stretches(alone=True), own_conditions(one.validation)
    counter, table = Counter(_GPU, 6), BySample(37, 6, _GPU)
    with synchronising_forbidden():
        one._count(
            model, batches, conditions, counter, lambda batch, final, _: table.put(batch.ids, *final.T)
        )
    assert counter.accuracy(37).count == len(table.gather()[0]) == 37
