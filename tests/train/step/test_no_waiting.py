"""No technique of the hot step waits for the device: what would make it wait is counted on the CPU, and refused on a
GPU by CUDA's own debug mode."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm

from engine.config.choices import OPTIMIZERS, names
from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.data.loading.loader import Batch
from engine.models.build import build_model
from engine.train.augment.chain import AUGMENTATIONS, Augment, loader_dtype
from engine.train.optimizers.optimizer import build_optimizer
from engine.train.ranks.backends import seed_step
from engine.train.ranks.group import Ranks, process_group
from engine.train.run import Run
from engine.train.step.losses import LOSSES
from engine.train.step.nonfinite import LOOK_EVERY, EpochLosses
from engine.train.step.precision import Precision
from engine.train.step.step import Step
from engine.train.step.weight_average import Ema
from tests.train.steps import ALONE

CLASSES = 4

# Operators whose result's size or value the host has to know before it goes on.
WAITING = {
    "aten::_local_scalar_dense",
    "aten::equal",
    "aten::masked_select",
    "aten::nonzero",
    "aten::_unique2",
    "aten::unique_dim",
}
# Ways from a tensor to the host that are no operators.
METHODS = ("tolist", "numpy", "cpu", "__array__")


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.name().partition(".")[0]
        if name in WAITING or (name in ("aten::index", "aten::index_put_") and _has_mask(args[1])):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def _has_mask(indices: list[torch.Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


@contextmanager
def waits() -> Iterator[list[str]]:
    """Within: what would wait for a GPU is noted in the list."""
    counter = _Counter()
    with pytest.MonkeyPatch.context() as patch, counter:
        for method in METHODS:
            patch.setattr(torch.Tensor, method, _noting(counter.found, method))
        patch.setattr(torch, "tensor", _noting_copies(counter.found))
        # On the CPU alone torch's looks at the labels, to refuse one that is no class.
        patch.setattr(functional, "one_hot", _one_hot)
        yield counter.found


@contextmanager
def synchronising_forbidden() -> Iterator[None]:
    """Within: torch raises an error where the host would wait for the GPU, which first has to be done."""
    torch.cuda.synchronize()
    try:
        with warnings.catch_warnings():
            # Its own warning, that the mode is a prototype, would be an error here.
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _one_hot(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    empty = torch.zeros(*labels.shape, num_classes, dtype=torch.int64)
    return empty.scatter_(-1, labels[..., None], 1)


def _noting(found: list[str], method: str) -> Any:
    original = getattr(torch.Tensor, method)

    def noting(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        found.append(method)
        return original(self, *args, **kwargs)

    return noting


def _noting_copies(found: list[str]) -> Callable[..., torch.Tensor]:
    """torch.tensor of numbers for a device: a copy from memory that is not pinned."""
    original = torch.tensor

    def noting(*args: Any, **kwargs: Any) -> torch.Tensor:
        if kwargs.get("device") is not None:
            found.append("tensor")
        return original(*args, **kwargs)

    return noting


EVERYTHING = {
    "training.ema_half_life": 4,
    "training.ema_every": 2,
    "training.sam_rho": 0.1,
    "training.sam_interval": 2,
    "training.clip_norm": 1.0,
    "training.nonfinite": "skip",
    "augmentation.mixup_alpha": 0.2,
    "augmentation.cutmix_alpha": 1.0,
}
TECHNIQUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ema": {"training.ema_half_life": 4, "training.ema_every": 2},
    "sam": {"training.sam_rho": 0.1, "training.sam_interval": 2},
    "clipping": {"training.clip_norm": 1.0},
    "skipping": {"training.nonfinite": "skip"},
    "everything": EVERYTHING,
    **{f"optimizer {name}": {"training.optimizer": name, "lr.lr": 0.01} for name in names(OPTIMIZERS)},
    **{f"loss {name}": {"loss.name": name} for name in LOSSES.names()},
    **{
        f"augmentation {name}": {f"augmentation.{key}": value for key, value in kind.example.items()}
        for name, kind in AUGMENTATIONS.items()
    },
}


def network() -> nn.Sequential:
    """Takes images of any size: ColOut makes them smaller."""
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for convolution in (nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 1, bias=False)):
        layers += [convolution, nn.BatchNorm2d(6), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(6 * 4, CLASSES))


def _config(options: dict[str, Any]) -> TrainConfig:
    files = {"data.train_dataset": "a", "data.val_dataset": "b"}
    return load_train_config([f"--{key}={value}" for key, value in {**files, **options}.items()])[0]


def _take(config: TrainConfig, ranks: Ranks, precision: Precision, model: nn.Module) -> Iterator[Any]:
    """Steps of two accumulated batches each, as the trainer takes them; gives what a step returned."""
    step = Step(config, ranks, precision, model.train(), CLASSES)
    augment = Augment(config, CLASSES, precision.input_dtype)
    dtype = loader_dtype(config, precision.input_dtype)
    random = torch.Generator().manual_seed(0)
    made = [
        Batch(
            torch.randn(6, 3, 8, 8, generator=random).to(ranks.device, dtype),
            torch.randint(0, CLASSES, (6,), generator=random).to(ranks.device),
            np.arange(6),
        )
        for _ in range(2)
    ]
    for number in range(100):
        seed_step(0, 0, number, 0)
        yield step.take((augment(batch, number) for batch in made), 2, lr=0.01, number=number)


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_step_never_waits_for_the_device(technique: str) -> None:
    config = _config(TECHNIQUES[technique])
    steps = _take(config, ALONE, Precision("fp32", ALONE.device), network())
    with waits() as found:
        for _ in range(4):
            next(steps)
    assert found == []


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("small_resnet", {"use_blurpool": True, "stochastic_depth": 0.5}),
        ("small_resnet", {"use_blurpool": False, "zero_init": True}),
        ("mobilenet_v3_small", {"use_blurpool": False, "dropout": 0.5}),
        ("convnext_tiny", {"use_blurpool": False, "stochastic_depth": 0.5}),
    ],
)
def test_network_never_waits_for_the_device(arch: str, options: dict[str, Any]) -> None:
    model = build_model(arch, CLASSES, **options).train()
    images = torch.randn(2, 3, 32, 32)
    with waits() as found:
        model(images).square().mean().backward()
    assert found == []


@pytest.mark.parametrize("name", names(OPTIMIZERS))
def test_only_unfused_optimizers_wait_to_skip_a_step(name: str) -> None:
    config = _config({"training.optimizer": name, "training.nonfinite": "skip", "lr.lr": 0.01})
    model = network()
    fused = Step(config, ALONE, Precision("fp32", ALONE.device), model, CLASSES).optimizer.defaults.get(
        "fused"
    )
    steps = _take(config, ALONE, Precision("fp32", ALONE.device), model)
    with waits() as found:
        next(steps)
    assert found == ([] if fused else ["aten::_local_scalar_dense"])


def test_losses_are_read_once_every_look_interval() -> None:
    losses = EpochLosses(_config({}), ALONE, epoch=0, steps=2 * LOOK_EVERY, accumulation=1)
    loss, taken = torch.ones(()), torch.zeros((), dtype=torch.bool)
    with waits() as found:
        for _ in range(LOOK_EVERY - 1):
            losses.note(loss, taken)
        assert found == []
        losses.note(loss, taken)
        assert found == ["tolist"]


@pytest.mark.parametrize("method", METHODS)
def test_checker_notices_tensor_methods_that_wait(method: str) -> None:
    with waits() as found:
        getattr(torch.ones(2), method)()
    assert method in found


def test_checker_notices_numbers_copied_to_the_device() -> None:
    with waits() as found:
        torch.tensor(3)
        torch.tensor(3, device=ALONE.device)
    assert found == ["tensor"]


def test_checker_notices_operators_that_wait() -> None:
    values = torch.ones(3)
    with waits() as found:
        values.sum().item()
        assert values.sum() > 0
        float(values[0])
        values[values > 0]
        values[values > 0] = torch.zeros(3)
        values.nonzero()
    assert found == [
        *["aten::_local_scalar_dense"] * 3,
        *("aten::index", "aten::index_put_", "aten::nonzero"),
    ]


def test_weight_average_never_waits_for_the_device() -> None:
    average = Ema(network(), half_life=3, every=1)
    with waits() as found:
        for number in range(3):
            average.update(number)
    assert found == []


def test_cuda_debug_mode_warns_of_itself_and_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def set_mode(mode: str) -> None:
        modes.append(mode)
        if len(modes) == 1:
            # As torch does, once a process.
            warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=1)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    with pytest.raises(ValueError, match="amid the steps"), synchronising_forbidden():
        raise ValueError("amid the steps")
    assert modes == ["error", "default"]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_gpu_step_never_synchronises(technique: str, name: str) -> None:
    device = torch.device("cuda", 0)
    if name == "bf16" and torch.cuda.get_device_capability(device) < (8, 0):
        pytest.skip("this GPU has no bf16")
    config = _config(TECHNIQUES[technique])
    if name == "fp16" and not build_optimizer(network(), config).defaults.get("fused"):
        pytest.skip("torch's gradient scaler waits in each step for optimizers that are not fused")
    ranks = Ranks(rank=0, world=1, local_rank=0, local_world=1, device=device)
    steps = _take(config, ranks, Precision(name, device), network().to(device))
    for _ in range(2):
        next(steps)
    with synchronising_forbidden():
        for _ in range(4):
            next(steps)


@pytest.mark.gpu
def test_gpu_training_loop_never_synchronises(options: Callable[..., list[str]]) -> None:
    """Loader, augmentation, step and losses together, in the third to fifth of an epoch's six steps."""
    given = {"training__device": "cuda", "training__ema_half_life": 2, "augmentation__mixup_alpha": 0.2}
    config = load_train_config(options(**given, training__compile=False, resolution__max_res=16))[0]
    seen, stack = [], ExitStack()

    def switch(_: int, step: int) -> None:
        seen.append(step)
        if step == 2:
            stack.enter_context(synchronising_forbidden())
        if step == 5:
            stack.close()

    with stack, process_group("cuda") as ranks, Run(config, ranks) as run, tqdm(disable=True) as bar:
        run.trainer.train_epoch(0, bar, paced=switch)
    assert seen == [1, 2, 3, 4, 5, 6]


@pytest.mark.gpu
@pytest.mark.parametrize("wait", ["item", "tolist", "cpu", "nonzero"])
def test_gpu_debug_mode_notices_waits(wait: str) -> None:
    values = torch.ones(1, device="cuda")
    with synchronising_forbidden(), pytest.raises(RuntimeError, match="synchronizing"):
        getattr(values, wait)()


@pytest.mark.gpu
def test_gpu_debug_mode_notices_copies_from_the_host() -> None:
    with synchronising_forbidden(), pytest.raises(RuntimeError, match="synchronizing"):
        torch.tensor(3, device="cuda")
