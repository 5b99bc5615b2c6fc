"""The options of section `model`: the network, and the weights it starts from."""

from dataclasses import dataclass

from engine.config.options import option
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network, and the weights it starts from."""

    arch: str = option(
        "resnet18",
        "network: a torchvision classification model; a timm model as timm:NAME; or one of ours for images of 24 to "
        "64 px (small_resnet, resnet9, resnet18_32px, resnet34_32px, resnet50_32px)",
    )
    stochastic_depth: float = option(
        -1.0,
        "probability of skipping the last residual block for an image in training; earlier blocks are skipped less "
        "often (linear rule: block l of L with l/L of it); -1 = the network's own default (ResNets: off)",
        low=-1,
        high=0.99,
    )
    dropout: float = option(
        -1.0, "probability of the network's dropout layers; -1 = the network's own default", low=-1, high=0.99
    )
    zero_init_residual: bool = option(
        False,
        "ResNets: start the last norm of each residual block at zero, so that blocks begin as identities",
    )
    weights: str = option(
        "",
        "weights file to start from: a run's weights.pt or checkpoint, or a file of torchvision's or timm's; empty = "
        "random weights",
    )
    weights_key: str = option(
        "",
        "with weights: the file's entry that holds them, as in state.model, or the part of a larger network, as in "
        "state_dict.student; empty = the usual keys, else the only weights in the file; prefixes of the names such as "
        "module. or model. are found without it",
    )
    match_classes: bool = option(
        True,
        "with weights: refuse those that were trained on classes of other names than the data's; false = go by the "
        "classes' numbers alone",
    )
    use_ema: bool = option(
        False,
        "with weights: start from the moving average (EMA) that the file holds, instead of its raw weights",
    )
    reset_head: bool = option(
        False, "with weights: replace the classifier by a new one, for a different number of classes"
    )
    ensemble: str = option(
        "",
        "with training.eval_only: further networks, as a list of run folders or weights files with commas between; the "
        "mean of their softmax and that of model.weights is evaluated. A network is what its run or file says, else "
        "model.arch; all see the images as validation prepares them; empty = only model.weights",
    )
    train_only: str = option(
        "all",
        "which weights to train. head: only the classifier and the last norm before it (the second stage of FixRes); "
        "all other weights and statistics are frozen",
        choices=("all", "head"),
    )

    def ensemble_list(self) -> list[str]:
        """The further networks' run folders or weights files."""
        return [path.strip() for path in self.ensemble.split(",") if path.strip()]


def check_model(model: ModelConfig) -> None:
    """Raises UserError for a probability between -1 and 0, and for options that don't go together."""
    for name in ("stochastic_depth", "dropout"):
        if -1 < getattr(model, name) < 0:
            raise UserError(
                f"model.{name} is {getattr(model, name)}: use 0 to 0.99, or -1 for the network's own default"
            )
    for name in ("use_ema", "reset_head", "weights_key"):
        if getattr(model, name) and not model.weights:
            raise UserError(f"model.{name} needs model.weights: name the weights file, or drop the option")
    if model.use_ema and model.weights_key:
        raise UserError(
            "model.weights_key and model.use_ema both choose weights of the file: drop one of them"
        )
