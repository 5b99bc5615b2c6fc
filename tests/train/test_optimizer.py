"""Who is decayed: decided by a parameter's role, so that a norm inside `downsample.1` is spared as well."""

import pytest
import torch

from engine.config.schema import TrainingConfig
from engine.models.build import build_model
from engine.train.optimizer import build_optimizer, decay_groups


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "vit_b_16", "convnext_tiny"])
def test_norms_and_biases_are_spared_and_every_parameter_is_in_one_group(arch: str) -> None:
    model = build_model(arch, 10, use_blurpool=False)
    decayed, spared = (group["params"] for group in decay_groups(model, 1e-4))
    assert isinstance(decayed, list) and isinstance(spared, list)
    assert len(decayed) + len(spared) == len(list(model.parameters()))
    assert len({id(p) for p in [*decayed, *spared]}) == len(list(model.parameters()))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert not any(names[id(parameter)].endswith("bias") for parameter in decayed)


def test_the_norm_in_a_shortcut_is_spared() -> None:
    model = build_model("resnet50", 10, use_blurpool=True)
    spared = {id(parameter) for parameter in decay_groups(model, 1e-4)[1]["params"]}  # type: ignore[attr-defined]
    named = dict(model.named_parameters())
    assert id(named["layer2.0.downsample.1.weight"]) in spared
    assert id(named["layer2.0.downsample.0.weight"]) not in spared
    assert id(named["fc.weight"]) not in spared


def test_a_step_decays_weights_only() -> None:
    model = build_model("small_resnet", 3, use_blurpool=False)
    optimizer = build_optimizer(model, TrainingConfig(weight_decay=0.5, momentum=0))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    after = dict(model.named_parameters())
    torch.testing.assert_close(after["conv1.weight"], before["conv1.weight"] * (1 - 0.1 * 0.5))
    torch.testing.assert_close(after["bn1.weight"], before["bn1.weight"], rtol=0, atol=0)
    torch.testing.assert_close(after["fc.bias"], before["fc.bias"], rtol=0, atol=0)
