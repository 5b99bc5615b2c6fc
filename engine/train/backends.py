"""What a run sets in its process before the first network is built."""

import os

import torch

from engine.train.host import keep_freed_memory


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
