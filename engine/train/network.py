"""The network that a run trains or validates: built, tried on the run's image sides, with the weights to start from."""

from pathlib import Path

import torch
from torch import nn

from engine.config.schema import TrainConfig
from engine.models.build import build_model
from engine.models.head import train_only_head
from engine.models.sides import refuse_sides
from engine.train.resolution import resolution_at
from engine.train.weights import load_weights


def build_network(config: TrainConfig, num_classes: int, device: torch.device) -> nn.Module:
    """The recipe's network on `device`, with its weights and with what is not trained frozen.

    Raises UserError for a side that it can't take, and for weights that don't fit.
    """
    wanted = config.model
    model = bare_network(config, num_classes)
    if wanted.weights:
        load_weights(model, Path(wanted.weights), use_ema=wanted.use_ema, reset_head=wanted.reset_head)
    if wanted.train_only == "head":
        train_only_head(model)
    layout = torch.channels_last if config.training.channels_last else torch.contiguous_format
    return model.to(device).to(memory_format=layout)


def bare_network(config: TrainConfig, num_classes: int) -> nn.Module:
    """The same as the seed makes it, on the CPU. Raises UserError for a side that it can't take."""
    training, wanted = config.training, config.model
    torch.manual_seed(training.seed)
    model = build_model(
        wanted.arch,
        num_classes,
        use_blurpool=training.use_blurpool,
        stochastic_depth=wanted.stochastic_depth,
        dropout=wanted.dropout,
        zero_init=wanted.zero_init_residual,
    )
    refuse_sides(model, wanted.arch, _sides(config))
    return model


def _sides(config: TrainConfig) -> dict[str, list[int]]:
    """The image sides of the run, in pixels, by where they are set."""
    epochs = 0 if config.training.eval_only else config.training.epochs
    trained = {resolution_at(config.resolution, epoch, epochs) for epoch in range(epochs)}
    return {
        "section resolution": sorted(trained),
        "validation.resolution": [config.validation.resolution],
        "validation.search": config.validation.search_list(),
        "validation.resolutions": config.validation.resolution_list(),
        "validation.plain_resolution": [config.validation.plain_resolution],
    }
