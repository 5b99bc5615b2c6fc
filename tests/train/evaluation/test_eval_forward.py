"""Validation sees batches of one size, compiled once for a network and its average; what fills a batch up never counts."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.config.load import load_train_config
from engine.data.beton.reader import open_beton
from engine.models.build import build_model
from engine.train.evaluation.accuracy import BySample
from engine.train.evaluation.validator import Validator, own_conditions
from engine.train.open_loader import open_loader
from engine.train.ranks.group import Ranks
from engine.train.step.precision import Precision
from tests.train.conftest import log_of, train_here
from tests.train.steps import ALONE

Open = Callable[..., Validator]


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
    """Plain accuracy, a search and training.eval_only measure each resolution once: compiling takes longer than that."""
    one = validator(training__compile=True)
    model = Meeting()
    one.plain_accuracy(model)
    one.measure(model, [own_conditions(one.validation)])
    assert one.compile_seconds == 0
    prepared = []
    monkeypatch.setattr(one.forward, "prepare", lambda _, side: prepared.append(side) or 2.5)
    one.accuracy(model)
    assert (prepared, one.compile_seconds) == ([32], 2.5)


@pytest.mark.slow
def test_network_and_its_average_share_one_compiled_validation(
    validator: Open, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    model = Meeting().network
    average = copy.deepcopy(model).requires_grad_(False)
    with torch.no_grad():
        for weight in average.parameters():
            weight.mul_(0.9)
    plain, compiled = validator(), validator(training__compile=True)
    stats = torch._dynamo.utils.counters["stats"]
    stats.clear()
    capsys.readouterr()
    for network in (model, average, model):
        found, expected = compiled.accuracy(network), plain.accuracy(network)
        # Compiled convolutions and norms round in another order.
        assert found.loss == pytest.approx(expected.loss, rel=1e-4)
        assert (found.top1, found.count) == (expected.top1, 37)
    assert stats["unique_graphs"] == 1
    assert compiled.compile_seconds > 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "compiling validation for 16 images of 32 px on each device"
    assert len(told) == 2 and told[1].startswith("compiled in ")
    # A network in training is compiled beside it, at one resolution after the other, and throws nothing away.
    training = torch.compile(model.train(), dynamic=False)
    training(torch.zeros(4, 3, 16, 16))
    before = stats["unique_graphs"]
    compiled.accuracy(model)
    assert stats["unique_graphs"] == before
    torch.compiler.reset()


def test_missing_compiler_prints_a_note_and_validates(
    validator: Open, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "/nowhere/g++"))
    torch.compiler.reset()
    one, model = validator(training__compile=True), Meeting().network
    capsys.readouterr()
    assert one.accuracy(model) == validator().accuracy(model)
    told = capsys.readouterr().out.splitlines()
    assert told[1].startswith("note: training.compile does not work here (")
    assert told[1].endswith("): validating without it")
    seconds = one.compile_seconds
    one.accuracy(model)
    assert one.compile_seconds == seconds, "it is tried once"
    torch.compiler.reset()


@pytest.mark.slow
def test_run_logs_the_compile_time_of_validation(options: Callable[..., list[str]]) -> None:
    _, folder = train_here(options(training__compile=True, training__epochs=2, lr__lr_peak_epoch=0.5))
    first, second = log_of(folder, "epoch")
    assert first["compile_seconds"] > 0
    assert first["val_seconds"] < first["compile_seconds"], "compiling is no part of it"
    assert first["compile_seconds"] + first["train_seconds"] + first["val_seconds"] <= first["elapsed_seconds"]


@pytest.mark.gpu
def test_gpu_validation_sees_one_shape_and_never_synchronises(validator: Open) -> None:
    from tests.train.step.test_no_waiting import forbidden_to_wait

    device = torch.device("cuda", 0)
    ranks = Ranks(rank=0, world=1, local_rank=0, local_world=1, device=device)
    one, model = validator(ranks, training__device="cuda", training__compile=False), Meeting(device)
    one.accuracy(model)
    assert {count for count, *_ in model.met} == {16}
    expected = validator().accuracy(Meeting())
    assert one.accuracy(model).loss == pytest.approx(expected.loss, rel=1e-3)
