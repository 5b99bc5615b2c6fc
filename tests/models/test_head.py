"""Where a network's classifier is, and what a frozen network still learns."""

import pytest
import torch
from torch import nn

from engine.models.build import MODELS, build_model
from engine.models.head import classifier_name, train_mode, train_only_head

NAMES = {
    "resnet18": "fc", "vgg11": "classifier.6", "densenet121": "classifier", "squeezenet1_1": "classifier.1",
    "vit_b_32": "heads.head", "swin_t": "head", "convnext_tiny": "classifier.2", "googlenet": "fc",
    "mobilenet_v3_small": "classifier.3", **dict.fromkeys(MODELS.names(), "fc"),
}  # fmt: skip


@pytest.mark.parametrize("arch", NAMES)
def test_classifier_is_found_by_name(arch: str) -> None:
    with torch.device("meta"):
        model = build_model(arch, 17, use_blurpool=False)
    assert classifier_name(model) == NAMES[arch]
    assert model.get_submodule(NAMES[arch]).weight.shape[0] == 17  # type: ignore[index]


@pytest.mark.parametrize(
    ("arch", "norm"),
    [("resnet50", "layer4.2.bn3"), ("resnet18", "layer4.1.bn2"), ("convnext_tiny", "classifier.0")],
)
def test_head_is_the_classifier_and_the_norm_before_it(arch: str, norm: str) -> None:
    with torch.device("meta"):
        model = build_model(arch, 10, use_blurpool=False)
    train_only_head(model)
    head = classifier_name(model)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {f"{part}.{kind}" for part in (norm, head) for kind in ("weight", "bias")}


def test_head_training_changes_only_the_heads_state() -> None:
    torch.manual_seed(0)
    model = build_model("resnet18", 10, use_blurpool=True, stochastic_depth=0.2)
    train_only_head(model)
    train_mode(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    nn.functional.cross_entropy(model(torch.randn(4, 3, 64, 64)), torch.tensor([0, 1, 2, 3])).backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    norm = {
        f"layer4.1.bn2.{kind}"
        for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert changed == {"fc.weight", "fc.bias", *norm}


def test_unfrozen_norms_are_all_in_training_mode() -> None:
    model = build_model("small_resnet", 10, use_blurpool=False).eval()
    train_mode(model)
    assert all(module.training for module in model.modules())
