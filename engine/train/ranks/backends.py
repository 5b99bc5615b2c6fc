"""What a run sets in its process before the first network is built.

Torch's own random numbers: what dropout and stochastic depth draw from.
"""

import os

import numpy as np
import torch

from engine.train.ranks.process import keep_freed_memory


def set_backends(device: torch.device, *, tf32: bool, deterministic: bool) -> None:
    """Fastest convolutions for fixed shapes, or those that give the same bits every time; and what is called fp32 is
    fp32, unless TF32 is asked for.
    """
    torch.use_deterministic_algorithms(deterministic)
    if device.type == "cpu":
        keep_freed_memory()
    else:
        # What cuBLAS asks for to be deterministic; it is read with the first product.
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Its trials choose by time, which is another choice in each process.
        torch.backends.cudnn.benchmark = not deterministic
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Seed torch's generators, on the CPU and on every GPU in use, for one step of one rank.

    So what a step draws is a function of these four numbers, and a run that goes on draws what it would have drawn.
    Does not wait for the device.
    """
    state = np.random.SeedSequence((seed, epoch, step, rank)).generate_state(1, np.uint64)
    # What torch.manual_seed does, but for GPUs that are not in use: for those it notes a stack trace, which made a step
    # 0.15 ms longer.
    torch.default_generator.manual_seed(int(state[0]))
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(int(state[0]))
