"""Which parameters are decayed: it depends on the type of their module, so the norm in `downsample.1` is not."""

import pytest
import torch

from engine.models.build import build_model
from engine.train.optimizers.optimizer import build_optimizer, decay_groups
from tests.train.steps import recipe


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "vit_b_16", "convnext_tiny"])
def test_each_parameter_is_in_one_group_and_no_bias_is_decayed(arch: str) -> None:
    model = build_model(arch, 10, use_blurpool=False)
    decayed, spared = (group["params"] for group in decay_groups(model, 1e-4))
    assert len(decayed) + len(spared) == len(list(model.parameters()))
    assert len({id(p) for p in [*decayed, *spared]}) == len(list(model.parameters()))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert not any(names[id(parameter)].endswith("bias") for parameter in decayed)


def test_norm_in_a_shortcut_is_not_decayed() -> None:
    model = build_model("resnet50", 10, use_blurpool=True)
    spared = {id(parameter) for parameter in decay_groups(model, 1e-4)[1]["params"]}
    named = dict(model.named_parameters())
    assert id(named["layer2.0.downsample.1.weight"]) in spared
    assert id(named["layer2.0.downsample.0.weight"]) not in spared
    assert id(named["fc.weight"]) not in spared


def test_sgd_step_with_zero_gradients_decays_weights_only() -> None:
    model = build_model("small_resnet", 3, use_blurpool=False)
    optimizer = build_optimizer(model, recipe(weight_decay=0.5, momentum=0))
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
