"""The options of section `model`: which network, what is done to it, where its first weights come from."""

from dataclasses import dataclass

from engine.config.options import option


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network, and where its first weights come from."""

    arch: str = option(
        "resnet18",
        "network: a torchvision classification model; one of timm's as timm:NAME; or one of ours for images of 24 to "
        "64 px (small_resnet, resnet9, resnet18_32px, resnet34_32px, resnet50_32px)",
    )
    weights: str = option("", "file of weights to start from (a run's weights.pt); empty: start from scratch")
