"""torch's settings for a run, set before the first network is built, and torch's random numbers in each step."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from engine.devices import is_gpu, seed_all
from engine.errors import UserError
from engine.train.ranks.process import keep_freed_memory


def set_backends(device: torch.device, *, tf32: bool, deterministic: bool) -> None:
    """Choose the fastest convolutions for fixed shapes, or, with `deterministic`, those that repeat to the bit.

    fp32 arithmetic on a GPU uses TF32 only with `tf32`.
    """
    # The call imports torch's compiler, which takes seconds.
    if deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(deterministic)
    if not is_gpu(device):
        keep_freed_memory()
    else:
        # cuBLAS needs it to be deterministic, and reads it at the first matrix product.
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # cuDNN's trials choose by time, which differs between processes.
        torch.backends.cudnn.benchmark = not deterministic
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32


@contextmanager
def deterministic_errors() -> Iterator[None]:
    """Raise a UserError for torch's error about an operation that training.deterministic forbids."""
    try:
        yield
    except RuntimeError as error:
        found = re.match(r"(\S+) does not have a deterministic implementation", str(error))
        if not found:
            raise
        raise UserError(
            f"training.deterministic: this network needs {found[1]}, which has no deterministic form on this device: "
            "choose another model.arch, or set training.deterministic=false"
        ) from None


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Seed torch's generators, on the CPU and on every GPU in use, for one step of one rank.

    Dropout and stochastic depth draw from them, so their draws are a function of these four numbers and a resumed run
    repeats them. Does not wait for the device.
    """
    state = np.random.SeedSequence((seed, epoch, step, rank)).generate_state(1, np.uint64)
    seed_all(int(state[0]))
