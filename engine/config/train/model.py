"""The options of section `model`: which network, what is done to it, where its first weights come from."""

from dataclasses import dataclass

from engine.config.options import option
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network, and where its first weights come from."""

    arch: str = option(
        "resnet18",
        "network: a torchvision classification model; one of timm's as timm:NAME; or one of ours for images of 24 to "
        "64 px (small_resnet, resnet9, resnet18_32px, resnet34_32px, resnet50_32px)",
    )
    stochastic_depth: float = option(
        -1.0,
        "probability that the last residual block is skipped for an image in training; block l of L with l/L of it "
        "(linear rule); -1: as the network is defined (ResNets: none; ConvNeXt, EfficientNet, ...: their own)",
        low=-1,
        high=0.99,
    )
    dropout: float = option(
        -1.0, "share that the network's dropout layers drop; -1: as the network is defined", low=-1, high=0.99
    )
    zero_init_residual: bool = option(
        False,
        "start the last norm of each residual branch at zero, so that blocks begin as identities (ResNets)",
    )
    weights: str = option(
        "",
        "file of weights to start from: a run's weights.pt or checkpoint, torchvision's or timm's; empty: start from "
        "scratch",
    )
    use_ema: bool = option(False, "start from the moving average that the file of weights holds")
    reset_head: bool = option(
        False, "with weights: start with a new classifier, as for another number of classes"
    )
    train_only: str = option(
        "all",
        "what is trained; head: the classifier and the last norm before it, as FixRes' second stage; all other "
        "weights and statistics stay",
        choices=("all", "head"),
    )


def check_model(model: ModelConfig) -> None:
    """Raises UserError for a probability that is neither one nor -1, and for options that don't fit each other."""
    for name in ("stochastic_depth", "dropout"):
        if -1 < getattr(model, name) < 0:
            raise UserError(f"model.{name} is {getattr(model, name)}: 0 to 0.99, or -1 for the network's own")
    for name in ("use_ema", "reset_head"):
        if getattr(model, name) and not model.weights:
            raise UserError(f"model.{name} without model.weights: name the file of weights, or drop it")
