"""Steps of replayed passes equal plain ones; what is captured, and when. On a CPU all but the capture itself."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.data.loading.loader import Batch
from engine.errors import UserError
from engine.train.augment.chain import Augment, TrainBatch, loader_dtype
from engine.train.ranks.backends import seed_step
from engine.train.ranks.group import Ranks
from engine.train.step.graphs import WARM_UPS, GraphedPasses, graphed
from engine.train.step.precision import Precision
from engine.train.step.step import Step
from tests.train.conftest import log_of, train_here
from tests.train.step.test_no_waiting import CLASSES, TECHNIQUES, network, synchronising_forbidden
from tests.train.steps import ALONE, recipe, step_of

GPU = Ranks(rank=0, world=1, local_rank=0, local_world=1, device=torch.device("cuda", 0))

# Images of the two batches of each step: one batch lacks an image, and a resolution comes back.
SIZES, SIDES = [6, 6], [8] * 6 + [10] * 5 + [8] * 2
SHORT = 4


class Replays:
    """Stands in for CUDA's capture: a replay does the work again, over the same memory.

    As after a real one, no gradient is attached that Python did not attach: a replay runs none.
    """

    def __init__(self, weights: list[nn.Parameter]) -> None:
        self._weights, self._places = weights, set[tuple[int, ...]]()
        self.aside_count = self.recorded = self.replayed = 0

    def aside(self, work: Callable[[], torch.Tensor]) -> torch.Tensor:
        self.aside_count += 1
        return work()

    def record(self, work: Callable[[], object]) -> Callable[[], None]:
        self.recorded += 1

        def replay() -> None:
            work()
            self.replayed += 1
            self._places.add(
                tuple(weight.grad.data_ptr() for weight in self._weights if weight.grad is not None)
            )
            assert len(self._places) == 1, "all graphs leave the gradients in the same memory"
            for weight in self._weights:
                weight.grad = None

        return replay


def _config(options: dict[str, Any]) -> TrainConfig:
    files = {"data.train_dataset": "a", "data.val_dataset": "b"}
    return load_train_config([f"--{key}={value}" for key, value in {**files, **options}.items()])[0]


def _network() -> nn.Sequential:
    """With a weight that takes no part: it has no gradient, and must not be decayed."""
    model = network()
    model.register_parameter("spare", nn.Parameter(torch.ones(3)))
    return model


def _train(
    config: TrainConfig, step: Step, sides: list[int], first: int = 0
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """A step of two batches at each side; returns what the steps returned, on the CPU."""
    augment = Augment(config, CLASSES, step.precision.input_dtype)
    dtype, taken = loader_dtype(config, step.precision.input_dtype), []
    for number, side in enumerate(sides, start=first):
        random = torch.Generator().manual_seed(number)
        sizes = [SIZES[0], SHORT] if number == 5 else SIZES
        made = [
            Batch(
                torch.randn(size, 3, side, side, generator=random).to(step.ranks.device, dtype),
                torch.randint(0, CLASSES, (size,), generator=random).to(step.ranks.device),
                np.arange(size),
            )
            for size in sizes
        ]
        step.prepare(SIZES[0], side)
        seed_step(0, 0, number, 0)
        loss, left_out = step.take(
            (augment(batch, number) for batch in made), 2, lr=0.1 / (1 + number), number=number
        )
        taken.append((loss.clone(), left_out.clone()))
    return taken


def _state(step: Step) -> dict[str, torch.Tensor]:
    state = dict(step.model.state_dict())
    return state | (
        {f"ema.{key}": value for key, value in step.ema.model.state_dict().items()} if step.ema else {}
    )


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_replayed_steps_equal_plain_steps_to_the_bit(technique: str) -> None:
    config = _config(TECHNIQUES[technique])
    plain, replayed = (
        Step(config, ALONE, Precision("fp32", ALONE.device), _network(), CLASSES) for _ in "12"
    )
    recorder = Replays(replayed._weights)
    replayed._graphs = GraphedPasses(replayed._weights, replayed._pass, recorder)
    expected, found = (_train(config, step, SIDES) for step in (plain, replayed))
    assert all(map(torch.equal, sum(found, ()), sum(expected, ())))
    states = _state(plain), _state(replayed)
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert recorder.replayed >= 6, "not all of them warmed up"


@pytest.mark.parametrize(
    ("options", "forms"), [({}, 4), ({"training.sam_rho": 0.1}, 8)], ids=["plain", "SAM"]
)
def test_each_form_is_captured_once_after_its_warm_up(options: dict[str, Any], forms: int) -> None:
    config = _config(options)
    step = Step(config, ALONE, Precision("fp32", ALONE.device), _network(), CLASSES)
    recorder = Replays(step._weights)
    step._graphs = GraphedPasses(step._weights, step._pass, recorder)
    _train(config, step, SIDES)
    # Two sides, first and further batches, and SAM's second pass.
    assert (recorder.recorded, recorder.aside_count) == (forms, forms * WARM_UPS)
    # All others are replays, but for the batch that lacks an image.
    passes = len(SIDES) * forms // 2
    assert recorder.replayed == passes - forms * WARM_UPS - forms // 4


def test_captured_pass_reads_only_memory_that_stays() -> None:
    step = step_of(recipe(), network())
    seen: list[TrainBatch] = []

    def run(batch: TrainBatch, _: int) -> torch.Tensor:
        seen.append(batch)
        return batch.images.mean()

    passes = GraphedPasses(step._weights, run, Replays(step._weights))
    passes.expect(2)
    for number in range(WARM_UPS + 3):
        images = torch.full((2, 3, 4, 4), float(number)).to(memory_format=torch.channels_last)
        loss = passes(TrainBatch(images, torch.zeros(2)), 1, first=True, again=False)
        assert float(loss) == number
    assert len({batch.images.data_ptr() for batch in seen[WARM_UPS:]}) == 1
    assert all(batch.images.is_contiguous(memory_format=torch.channels_last) for batch in seen)


def test_graphs_are_refused_without_a_gpu_and_on_several() -> None:
    with pytest.raises(
        UserError, match=r"^training\.cuda_graphs needs a GPU, and this run is on the cpu: drop it$"
    ):
        step_of(recipe(cuda_graphs=True), network())
    with pytest.raises(UserError, match=r"^training\.cuda_graphs needs a GPU: drop it$"):
        recipe(cuda_graphs=True, device="cpu")
    eight = dataclasses.replace(GPU, world=8)
    with pytest.raises(UserError, match=r"^training\.cuda_graphs works on one GPU, and this run has 8 "):
        graphed(eight, [], lambda *_: torch.zeros(()))


def _on_gpu(config: TrainConfig, name: str, model: nn.Module) -> Step:
    return Step(config, GPU, Precision(name, GPU.device), model.to(GPU.device), CLASSES)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("technique", "name"),
    [*((technique, "fp32") for technique in TECHNIQUES), ("everything", "bf16"), ("everything", "fp16")],
)
def test_gpu_graphs_train_as_plain_steps(technique: str, name: str) -> None:
    options = {**TECHNIQUES[technique], "training.compile": "off"}
    plain, replayed = (_config({**options, "training.cuda_graphs": on}) for on in (False, True))
    steps = _on_gpu(plain, name, _network()), _on_gpu(replayed, name, _network())
    expected, found = (
        _train(config, step, SIDES) for config, step in zip((plain, replayed), steps, strict=True)
    )
    # cuDNN may choose other algorithms, and some add up in any order.
    rough = 1e-3 if name == "fp32" else 5e-2
    for (loss, left_out), (wanted, wanted_out) in zip(found, expected, strict=True):
        assert float(loss) == pytest.approx(float(wanted), rel=rough, abs=rough)
        assert bool(left_out) == bool(wanted_out)
    states = _state(steps[0]), _state(steps[1])
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=rough, atol=rough, msg=key)
    assert torch.equal(
        steps[1].model.state_dict()["1.num_batches_tracked"], states[0]["1.num_batches_tracked"]
    )


@pytest.mark.gpu
@pytest.mark.parametrize("technique", ["plain", "everything"])
def test_gpu_replays_never_synchronise(technique: str) -> None:
    config = _config({**TECHNIQUES[technique], "training.cuda_graphs": True, "training.compile": "off"})
    step = _on_gpu(config, "fp32", network())
    _train(config, step, [8] * 12)
    batches = [
        TrainBatch(torch.randn(6, 3, 8, 8, device="cuda"), torch.zeros(6, dtype=torch.int64, device="cuda"))
        for _ in range(2)
    ]
    if technique == "everything":
        batches = [TrainBatch(one.images, torch.full((6, CLASSES), 0.25, device="cuda")) for one in batches]
    with synchronising_forbidden():
        for number in range(12, 16):
            step.take(iter(batches), 2, lr=0.01, number=number)


@pytest.mark.gpu
def test_gpu_graph_draws_new_random_numbers_and_repeats_a_seed() -> None:
    config = _config({"training.cuda_graphs": True, "training.compile": "off"})
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 8 * 8, CLASSES))
    step = _on_gpu(config, "fp32", model)
    batch = TrainBatch(
        torch.randn(6, 3, 8, 8, device="cuda"), torch.zeros(6, dtype=torch.int64, device="cuda")
    )
    step.prepare(6, 8)
    losses = []
    for number in [0, 1, 2, 3, 4, 5, 4]:
        seed_step(0, 0, number, 0)
        losses.append(float(step.take(iter([batch]), 1, lr=0.0, number=number)[0]))
    assert len(set(losses)) == 6 and losses[4] == losses[6]


@pytest.mark.gpu
def test_gpu_step_that_cannot_be_captured_is_one_line() -> None:
    class Waits(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images * images.mean().item()

    config = _config({"training.cuda_graphs": True, "training.compile": "off"})
    step = _on_gpu(config, "fp32", nn.Sequential(Waits(), nn.Flatten(), nn.Linear(3 * 8 * 8, CLASSES)))
    with pytest.raises(
        UserError, match=r"^training\.cuda_graphs: a step of this recipe can't be captured \("
    ):
        _train(config, step, [8] * 6)


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", ["off", "on"])
def test_gpu_run_with_graphs_equals_one_without(options: Callable[..., list[str]], compiled: str) -> None:
    """Whole runs: the loader's threads use the GPU while steps are captured, and resolutions change."""
    losses = []
    for graphs in (False, True):
        _, folder = train_here(
            options(
                training__device="cuda",
                training__compile=compiled,
                training__cuda_graphs=graphs,
                training__ema_half_life=2,
                logging__name=f"graphs_{graphs}",
            )
        )
        losses.append([line["train_loss"] for line in log_of(folder, "epoch")])
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)
