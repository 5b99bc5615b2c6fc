"""The head of a network, as FixRes fine-tunes it (Touvron et al. 2019): the classifier and the last norm before it."""

from itertools import takewhile

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from engine.models.residual import branch_ends

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def classifier_name(model: nn.Module) -> str:
    """The name of the classifier in `model`: its last linear layer or, as in SqueezeNet, convolution."""
    return [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]


def train_only_head(model: nn.Module) -> None:
    """Freeze all weights of `model` except those of the head, in place.

    In residual networks the norm is the one at the end of the last block's branch, not that of its shortcut.
    """
    classifier = model.get_submodule(classifier_name(model))
    norms: list[nn.Module] = [getattr(block, name) for block, name in branch_ends(model)]
    if not norms:
        before = takewhile(lambda module: module is not classifier, model.modules())
        norms = [module for module in before if isinstance(module, _NORMS)]
    model.requires_grad_(False)
    for module in (classifier, *norms[-1:]):
        module.requires_grad_(True)


def train_mode(model: nn.Module) -> None:
    """Put `model` into training mode, except norms with frozen weights, whose statistics stay fixed too."""
    model.train()
    for module in model.modules():
        # A norm without weights was not frozen.
        weights = list(module.parameters(recurse=False)) if isinstance(module, _NORMS) else []
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()
