"""The options of section `training`: optimisation, precision and device."""

from dataclasses import dataclass

from engine.config.options import option
from engine.config.train.choices import OPTIMIZERS, described, names, takers
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimisation, precision and device."""

    eval_only: bool = option(False, "only validate model.weights, without opening the training data")
    batch_size: int = option(512, "GLOBAL batch: images per optimizer step over all devices", low=1)
    device_batch_size: int = option(
        0, "most images one device takes at once; more are accumulated; 0: no limit", low=0
    )
    fit_memory: bool = option(
        False,
        "on a GPU: take as large a part of the batch at once as its memory holds at each resolution, found by trying "
        "before the run; device_batch_size is then the most that is tried",
    )
    optimizer: str = option(
        "sgd",
        f"optimizer; {described(OPTIMIZERS)}",
        choices=names(OPTIMIZERS),
    )
    momentum: float = option(0.9, f"{takers(OPTIMIZERS, 'momentum')}: momentum", low=0, high=0.9999)
    nesterov: bool = option(False, f"{takers(OPTIMIZERS, 'nesterov')}: Nesterov momentum")
    beta1: float = option(
        0.9,
        f"{takers(OPTIMIZERS, 'beta1')}: decay rate of the running mean of the gradients",
        low=0,
        high=0.9999,
    )
    beta2: float = option(
        0.999,
        f"{takers(OPTIMIZERS, 'beta2')}: decay rate of the running mean of the squared gradients",
        low=0,
        high=0.99999,
    )
    eps: float = option(
        1e-8, f"{takers(OPTIMIZERS, 'eps')}: added to the denominator (LAMB's authors: 1e-6)", above=0
    )
    weight_decay: float = option(
        4e-5,
        "weight decay of weights; norms and biases are never decayed. A step takes the share lr x weight_decay of "
        "a weight away (sgd: by way of momentum), but sgdw lr / lr.lr x weight_decay",
        low=0,
    )
    clip_norm: float = option(
        0.0, "gradients that are longer than this, all taken together, are shortened to it; 0: never", low=0
    )
    sam_rho: float = option(
        0.0, "sharpness-aware minimisation: how far it climbs before it takes the gradient; 0: off", low=0
    )
    sam_interval: int = option(1, "every so many steps is one of SAM's, which cost twice as much", low=1)
    ema_half_life: float = option(
        0.0,
        "steps in which a moving average of the weights forgets half; it is validated beside them, saved as "
        "weights_ema.pt, and the verdict is about it; 0: none",
        low=0,
    )
    ema_every: int = option(1, "every so many steps the average takes the weights in", low=1)
    nonfinite: str = option(
        "stop",
        "a loss that is not finite ends the run (stop), or a step whose gradients are not finite is left out and "
        "counted (skip: some small copies in each step; with an optimizer that is not fused, such as lamb, a wait for "
        "the device as well)",
        choices=("stop", "skip"),
    )
    loss_limit: float = option(1e6, "a training loss above this ends the run as well", above=0)
    epochs: int = option(30, "passes over the training data", low=1)
    label_smoothing: float = option(
        0.1, "share of the target spread evenly over all classes", low=0, high=0.99
    )
    use_blurpool: bool = option(False, "blur before strided convolutions (antialiased-cnns' filter)")
    channels_last: bool = option(True, "keep weights and activations in NHWC memory order")
    precision: str = option(
        "auto",
        "arithmetic of forward and backward; auto: bf16 where the device has it, else fp16 on a GPU, else "
        "fp32",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    compile: bool = option(
        False, "torch.compile the network, anew for each resolution; without a compiler a line says so"
    )
    tf32: bool = option(
        False,
        "on a GPU, TF32 for what is called fp32: faster where the precision is fp32, with 10 bits of mantissa",
    )
    device: str = option(
        "auto", "where to train; auto: GPUs where there are any", choices=("auto", "cpu", "cuda")
    )
    deterministic: bool = option(
        False,
        "on a GPU, only algorithms that give the same bits every time (slower); on a CPU they all do",
    )
    sync_bn: bool = option(
        False, "on GPUs, batch norm's statistics over the batches of all devices (SyncBatchNorm)"
    )
    seed: int = option(0, "seed of weights, order, crops and flips", low=0, high=2**31 - 1)
    first_stage: int = option(1, "stage of the recipe to begin with, from model.weights", low=1)
    resume: str = option(
        "",
        "run folder to go on with, from its last checkpoint; same recipe and data. auto: go on with the run that "
        "logging.folder and logging.name name, if there is one, else begin it: the same command serves for both, as "
        "schedulers and torchrun's restarts need",
    )


def check_training(training: TrainingConfig) -> None:
    """Raises UserError for options that don't fit each other."""
    if training.nesterov and training.momentum == 0:
        raise UserError("training.nesterov needs training.momentum above 0")
    if training.nesterov and "nesterov" not in OPTIMIZERS[training.optimizer].takes:
        raise UserError(f"training.nesterov means nothing to {training.optimizer}: drop it")
    for needs, key in (("sam_rho", "sam_interval"), ("ema_half_life", "ema_every")):
        if getattr(training, key) > 1 and not getattr(training, needs):
            raise UserError(f"training.{key} means nothing without training.{needs}: set that too")
    if training.eval_only and training.first_stage > 1:
        raise UserError("training.first_stage means nothing to training.eval_only: drop one of them")
    if training.device == "cpu" and training.sync_bn:
        raise UserError("training.sync_bn needs GPUs (torch has it for no other device): drop it")
    if training.device == "cpu" and training.precision == "fp16":
        raise UserError("training.precision fp16 needs a GPU: use bf16, fp32 or auto with device cpu")
