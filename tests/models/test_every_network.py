"""What holds for each of our networks: every registered one is tested here without being named."""

import pytest
import torch
from torch import nn

from engine.errors import UserError
from engine.models.blurpool import BlurConv2d
from engine.models.build import MODELS, build_model, weights_note
from engine.models.head import classifier_name
from engine.train.optimizers.optimizer import decay_groups

CLASSES, SIDE = 7, 32
EVERY = pytest.mark.parametrize("arch", MODELS.names())


def _built(arch: str, **changes: bool) -> nn.Module:
    torch.manual_seed(0)
    return build_model(arch, CLASSES, **{"use_blurpool": False, **changes})


@EVERY
@pytest.mark.parametrize("side", [24, SIDE, 64])
def test_forward_gives_finite_logits_for_small_images(arch: str, side: int) -> None:
    with torch.no_grad():
        logits = _built(arch)(torch.randn(2, 3, side, side))
    assert logits.shape == (2, CLASSES) and logits.dtype == torch.float32
    assert logits.isfinite().all()


@EVERY
def test_every_parameter_gets_a_gradient(arch: str) -> None:
    model = _built(arch)
    model(torch.randn(2, 3, SIDE, SIDE)).square().mean().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name


@EVERY
def test_same_seed_builds_the_same_weights(arch: str) -> None:
    one, other = _built(arch).state_dict(), _built(arch).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@EVERY
def test_classifier_has_an_output_for_each_class(arch: str) -> None:
    model = _built(arch)
    layer = model.get_submodule(classifier_name(model))
    assert isinstance(layer, nn.Linear) and layer.out_features == CLASSES


@EVERY
def test_decay_groups_hold_every_parameter_once(arch: str) -> None:
    model = _built(arch)
    decayed, spared = (group["params"] for group in decay_groups(model, 1e-4))
    assert sorted(map(id, [*decayed, *spared])) == sorted(map(id, model.parameters()))
    assert all(weight.ndim > 1 for weight in decayed) and all(weight.ndim <= 1 for weight in spared)


@EVERY
def test_blurpool_keeps_weight_names_or_is_refused(arch: str) -> None:
    plain = _built(arch)
    strided = [
        layer
        for layer in plain.modules()
        if isinstance(layer, nn.Conv2d) and max(layer.stride) > 1 and layer.in_channels >= 16
    ]
    if not strided:
        with pytest.raises(UserError, match=f"{arch} has no strided convolution"):
            _built(arch, use_blurpool=True)
        return
    blurred = _built(arch, use_blurpool=True)
    assert sum(isinstance(layer, BlurConv2d) for layer in blurred.modules()) == len(strided)
    assert blurred.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert not torch.allclose(plain.eval()(images), blurred.eval()(images))


@EVERY
def test_channels_last_gives_the_same_outputs(arch: str) -> None:
    model, images = _built(arch).eval(), torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        plain = model(images)
        last = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, plain, rtol=1e-3, atol=1e-4)


@EVERY
def test_weights_note_names_the_network(arch: str) -> None:
    assert arch in weights_note(arch, use_blurpool=False)
