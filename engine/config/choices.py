"""The registrations of what is chosen by name: each optimizer, schedule and loss, with its help and its options.

The code of each lies in engine/train, which finds it by the same name:

    optimizer NAME      engine/train/optimizers/NAME.py, function `build`
    schedule NAME       engine/train/schedules.py, a function registered under NAME
    loss NAME           engine/train/step/losses.py, a function registered under NAME

The allowed values of the options, their --help texts and the tests are made from these tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One allowed value of an option.

    `text` describes it in --help. `takes` names the options of the same section that it reads and that some other
    choice does not; setting one of those for a choice that does not take it is refused or has no effect.
    """

    text: str
    takes: tuple[str, ...] = ()


Choices = Mapping[str, Choice]

_SGD_TAKES = ("momentum", "nesterov")
_ADAM_TAKES = ("beta1", "beta2", "eps")

OPTIMIZERS: Choices = {
    "sgd": Choice(text="SGD with momentum; weight decay is part of the gradient", takes=_SGD_TAKES),
    "sgdw": Choice(text="SGD with decoupled weight decay, as in Composer", takes=_SGD_TAKES),
    "adamw": Choice(text="Adam with decoupled weight decay (Loshchilov, Hutter 2017)", takes=_ADAM_TAKES),
    "lamb": Choice(text="You et al. 2019", takes=_ADAM_TAKES),
}

_WARM_UP = ("lr_peak_epoch", "lr_peak_share", "lr_start", "lr_final")

LR_SCHEDULES: Choices = {
    "cyclic": Choice(
        text="linear up to the peak, linear down to lr_final (ffcv-imagenet)",
        takes=("lr_peak_epoch", "lr_peak_share", "lr_final"),
    ),
    "step": Choice(text="x step_ratio every step_length epochs", takes=("step_ratio", "step_length")),
    "constant": Choice(text="lr.lr throughout"),
    "cosine": Choice(text="warm-up, then half a cosine down", takes=_WARM_UP),
    "polynomial": Choice(text="warm-up, then down by a power of the share left", takes=(*_WARM_UP, "power")),
    "flat-cosine": Choice(text="warm-up, flat, then half a cosine down", takes=(*_WARM_UP, "flat_until")),
    "one-cycle": Choice(
        text="half a cosine up, half a cosine down (Smith, Topin 2017)",
        takes=("lr_peak_epoch", "lr_peak_share", "div_factor", "final_div_factor"),
    ),
}

RESOLUTION_SCHEDULES: Choices = {
    "ramp": Choice(
        text="min_res until start_ramp, then linear up to max_res at end_ramp (ffcv-imagenet)",
        takes=("min_res", "max_res", "start_ramp", "end_ramp", "multiple_of"),
    ),
    "progressive": Choice(
        text="initial_scale x max_res, then linear up to max_res (Composer)",
        takes=("max_res", "multiple_of", "initial_scale", "delay_fraction", "finetune_fraction"),
    ),
    "stages": Choice(text="the list in resolution.stages", takes=("stages",)),
}

LOSSES: Choices = {
    "cross-entropy": Choice(text="cross-entropy of the softmax"),
    "bce": Choice(
        text="binary cross-entropy of each class, as in ResNet Strikes Back (Wightman et al. 2021)",
        takes=("bce_sum", "bce_threshold"),
    ),
}


def names(choices: Choices) -> tuple[str, ...]:
    """The allowed values, in the order in which --help lists them."""
    return tuple(choices)


def described(choices: Choices) -> str:
    """All choices in one text for --help: "sgd: ... . lamb: ..."."""
    return ". ".join(f"{name}: {choice.text}" for name, choice in choices.items())


def takers(choices: Choices, option: str) -> str:
    """The choices that read `option`, as a list for help and error texts: "sgd, sgdw"."""
    return ", ".join(name for name, choice in choices.items() if option in choice.takes)
