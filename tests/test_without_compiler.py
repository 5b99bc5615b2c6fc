"""Processes that compile nothing don't import torch's compiler, and those that compile have it whole."""

import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from engine.without_compiler import built_without_compiler, without_compiler

_PROGRAM = """
import sys
import torch
import engine.models
import torchvision
from engine.config.load import load_train_config
from engine.models.build import build_model
from engine.models.input_size import refuse_sides
from engine.train.optimizers.optimizer import build_optimizer

model = build_model("small_resnet", 10, use_blurpool=False)
refuse_sides(model, "small_resnet", {"option": [32]})
model.train()
config, *_ = load_train_config(["--data.train_dataset=a", "--data.val_dataset=b"])
optimizer = build_optimizer(model, config)
model(torch.ones(2, 3, 32, 32)).sum().backward()
optimizer.step()
optimizer.zero_grad()
found = [name for name in sys.modules if name.startswith(("torch._dynamo", "torch._inductor"))]
assert not found, found

boxes = torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]])
assert torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), boxes, 1).item() == 1
layer = torch.nn.Linear(2, 2)
assert torch.compile(layer, backend="eager")(torch.ones(1, 2)).equal(layer(torch.ones(1, 2)))
print(sys.modules["torch._dynamo"].__file__, sys.modules["torch._dynamo.utils"].is_compile_supported("cpu"))
"""


def test_compiler_is_imported_when_something_is_compiled(repository: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=300, cwd=repository
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.rstrip().endswith(f"{Path('torch/_dynamo/__init__.py')} True")


def _after_two_steps(wrapped: bool) -> list[torch.Tensor]:
    torch.manual_seed(1)
    model = nn.Linear(3, 2)

    def build() -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=0.1)

    optimizer = built_without_compiler(build) if wrapped else build()
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()
    assert all(weight.requires_grad and weight.grad is not None for weight in model.parameters())
    return [weight.detach() for weight in model.parameters()]


def test_step_is_that_of_torch() -> None:
    for ours, torchs in zip(_after_two_steps(True), _after_two_steps(False), strict=True):
        assert ours.equal(torchs)


def test_compiler_that_is_there_already_is_left_alone() -> None:
    import torch._dynamo

    with without_compiler():
        assert sys.modules["torch._dynamo"] is torch._dynamo
        assert torch._dynamo.__file__
