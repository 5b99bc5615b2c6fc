"""The options of section `training`: optimisation, precision and device."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from engine.config.choices import OPTIMIZERS, described, names, takers
from engine.config.options import option
from engine.errors import UserError


class Change(NamedTuple):
    """From `at` finished epochs on, the run has `epochs` epochs in all."""

    at: float
    epochs: float


def timeline_changes(text: str) -> list[Change]:
    """The changes that training.timeline lists. Raises UserError for text that can't be read."""
    changes = []
    for part in text.split(",") if text else ():
        at, _, epochs = part.strip().partition(":")
        try:
            change = Change(float(at), float(epochs))
        except ValueError:
            change = Change(math.nan, math.nan)
        if not 0 <= change.at < change.epochs < math.inf:
            raise UserError(
                f"training.timeline: can't read {part.strip()!r}: write AT:EPOCHS pairs as in 0:5.4, 2.25:6.1, where "
                "EPOCHS, the length of the run in all, is above AT"
            )
        changes.append(change)
    for before, after in pairwise(changes):
        if not before.at < after.at < before.epochs:
            raise UserError(
                f"training.timeline {text!r}: a change at {after.at:g} does not come between the one before "
                f"({before.at:g}) and the end of the run ({before.epochs:g})"
            )
    return changes


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimizer, batch, precision and device."""

    eval_only: bool = option(
        False, "only validate model.weights; the training file is opened only for validation.search"
    )
    batch_size: int = option(
        512, "global batch: images per optimizer step, over all devices together", unit="images", low=1
    )
    device_batch_size: int = option(
        0,
        "largest batch that one device processes at once; a larger share is split and its gradients accumulated; 0 = "
        "no limit",
        unit="images",
        low=0,
    )
    fit_memory: bool = option(
        False,
        "on a GPU: before training, find by trial the largest batch that fits into its memory at each resolution; "
        "device_batch_size is then the upper limit of the trial",
    )
    optimizer: str = option(
        "sgd",
        f"optimizer. {described(OPTIMIZERS)}",
        choices=names(OPTIMIZERS),
    )
    momentum: float = option(0.9, f"{takers(OPTIMIZERS, 'momentum')}: momentum", low=0, high=0.9999)
    nesterov: bool = option(False, f"{takers(OPTIMIZERS, 'nesterov')}: use Nesterov momentum")
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
        1e-8, f"{takers(OPTIMIZERS, 'eps')}: added to the denominator (LAMB's paper: 1e-6)", above=0
    )
    weight_decay: float = option(
        4e-5,
        "weight decay; norms and biases are never decayed. Each step removes lr x weight_decay of a weight (sgd: "
        "through the momentum; sgdw: lr / lr.lr x weight_decay)",
        low=0,
    )
    clip_norm: float = option(
        0.0, "clip the gradients to this norm, taken over all weights together; 0 = off", low=0
    )
    sam_rho: float = option(
        0.0, "sharpness-aware minimisation (SAM): radius of the ascent step; 0 = off", low=0
    )
    sam_interval: int = option(
        1,
        "apply SAM every N steps (a SAM step costs two forward-backward passes)",
        unit="steps",
        low=1,
    )
    ema_half_life: float = option(
        0.0,
        "half-life of the moving average (EMA) of the weights; the average is validated beside them, saved as "
        "weights_ema.pt and judged against the target; usual: at most a tenth of the run's steps; 0 = no average",
        unit="steps",
        low=0,
    )
    ema_every: int = option(1, "update the EMA every N steps", unit="steps", low=1)
    nonfinite: str = option(
        "stop",
        "what to do when loss or gradients are not finite. stop: a non-finite loss ends the run. skip: leave out and "
        "count each step with non-finite gradients (a few small copies per step; with optimizers that are not fused, "
        "such as lamb, also a wait for the device)",
        choices=("stop", "skip"),
    )
    loss_limit: float = option(1e6, "end the run when the training loss exceeds this", above=0)
    epochs: int = option(30, "passes over the training data", unit="epochs", low=1, high=100_000)
    timeline: str = option(
        "",
        "changes of the run's length, as AT:EPOCHS pairs such as 0:5.4, 2.25:6.1: from AT finished epochs on the run "
        "has EPOCHS epochs in all, and the rest of the schedule (learning rate, resolution) is stretched or shrunk to "
        "its end; budget.adapt writes what it changed here into config.yaml, which then repeats the run; empty = none",
    )
    label_smoothing: float = option(
        0.1,
        "label smoothing: fraction of the target spread evenly over all classes; 0 = off",
        low=0,
        high=0.99,
    )
    use_blurpool: bool = option(
        False, "BlurPool: blur before each strided convolution (the filter of antialiased-cnns)"
    )
    blur_kernel: str = option(
        "convolution",
        "what computes BlurPool's filter. triton: one kernel of ours for a GPU, with training.channels_last, which has "
        "not run on one yet",
        choices=("convolution", "triton"),
    )
    stem_channels: int = option(
        3,
        "on a GPU, with channels_last: channels that the first convolution reads; 4: the image's and one of zeros, for "
        "tensor cores; weights stay as they are; has not run on a GPU yet",
        low=3,
        high=4,
    )
    channels_last: bool = option(True, "store weights and activations in NHWC memory order")
    precision: str = option(
        "auto",
        "arithmetic of the forward and backward pass. auto: bf16 where the device supports it, else fp16 on a GPU, "
        "else fp32",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    compile: str = option(
        "auto",
        "compile the network with torch.compile, once per resolution; without a compiler a line says so and the run "
        "continues uncompiled. auto: on GPUs, not on a CPU",
        choices=("auto", "on", "off"),
    )
    combo_kernels: bool = option(
        False,
        "with compile: join small kernels that do not depend on each other, such as the casts of the weights to bf16, "
        "into one (torch's combo kernels), in training; fewer launches, the same bytes; has not run on a GPU yet",
    )
    cuda_graphs: bool = option(
        False,
        "on one GPU: capture each pass over a device batch as a CUDA graph and replay it, which saves the host the "
        "time of starting its kernels; for small networks such as CIFAR's; has not run on a GPU yet",
    )
    tf32: bool = option(
        False,
        "on a GPU: compute fp32 operations in TF32, which is faster but has a 10-bit mantissa; matters with "
        "precision=fp32",
    )
    device: str = option(
        "auto",
        "device to train on. cuda: NVIDIA's GPUs, or AMD's with torch for ROCm; mps: Apple's; xpu: Intel's; the last "
        "two have not been run yet. auto: GPUs if there are any, else the CPU",
        choices=("auto", "cpu", "cuda", "mps", "xpu"),
    )
    deterministic: bool = option(
        False,
        "on a GPU: use only algorithms that give the same bits every time (slower); on a CPU all of them do",
    )
    sync_bn: bool = option(
        False, "on several GPUs: compute batch norm's statistics over all devices (SyncBatchNorm)"
    )
    exchange: str = option(
        "fp32",
        "on several devices: type in which gradients are averaged over them. bf16: half the bytes, 8 bits of mantissa",
        choices=("fp32", "bf16"),
    )
    static_graph: bool = option(
        False,
        "on several devices: tell PyTorch's DDP that every step has the same graph; not with accumulated batches, "
        "compile or fit_memory",
    )
    seed: int = option(
        0, "seed of initial weights, order of the images, crops and flips", low=0, high=2**31 - 1
    )
    first_stage: int = option(1, "stage of the recipe to start with; above 1 it needs model.weights", low=1)
    resume: str = option(
        "",
        "folder of a run to continue from its last checkpoint, with the same recipe and data. auto: continue the run "
        "named by logging.folder and logging.name if it exists, else start it, so that schedulers and torchrun can "
        "repeat one command; empty = start a new run",
    )


def check_training(training: TrainingConfig) -> None:
    """Raises UserError for options of section `training` that don't go together."""
    changes = timeline_changes(training.timeline)
    if changes and changes[0].at >= training.epochs:
        raise UserError(
            f"training.timeline {training.timeline!r}: the first change, at {changes[0].at:g}, does not come before "
            f"the end of the run (training.epochs {training.epochs}): drop it"
        )
    if training.nesterov and training.momentum == 0:
        raise UserError(
            "training.nesterov needs training.momentum above 0: set it, or drop training.nesterov"
        )
    if training.nesterov and "nesterov" not in OPTIMIZERS[training.optimizer].takes:
        raise UserError(
            f"training.nesterov has no effect with training.optimizer={training.optimizer}: drop it"
        )
    for needs, key in (("sam_rho", "sam_interval"), ("ema_half_life", "ema_every")):
        if getattr(training, key) > 1 and not getattr(training, needs):
            raise UserError(f"training.{key} has no effect without training.{needs}: set both")
    if training.eval_only and training.first_stage > 1:
        raise UserError("training.first_stage and training.eval_only exclude each other: drop one")
    if training.combo_kernels and training.compile == "off":
        raise UserError("training.combo_kernels has no effect with training.compile=off: drop one")
    no_cuda = training.device not in ("auto", "cuda")
    with_cuda = " with CUDA" if no_cuda and training.device != "cpu" else ""
    if no_cuda and training.sync_bn:
        raise UserError(f"training.sync_bn needs GPUs{with_cuda} (torch supports no other device): drop it")
    if no_cuda and training.cuda_graphs:
        raise UserError(f"training.cuda_graphs needs a GPU{with_cuda}: drop it")
    if training.static_graph and training.fit_memory:
        raise UserError("training.static_graph and training.fit_memory exclude each other: drop one")
    if training.stem_channels > 3 and not training.channels_last:
        raise UserError(
            f"training.stem_channels={training.stem_channels} is for training.channels_last: set that, or drop "
            "training.stem_channels"
        )
    if training.stem_channels > 3 and no_cuda:
        raise UserError(f"training.stem_channels={training.stem_channels} needs a GPU{with_cuda}: drop it")
    if training.device == "cpu" and training.precision == "fp16":
        raise UserError("training.precision fp16 needs a GPU: use bf16, fp32 or auto with device cpu")
