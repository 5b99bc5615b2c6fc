"""What a run sets in its process before the first network is built."""

import torch

from engine.train.host import keep_freed_memory


def set_backends(device: torch.device, *, tf32: bool) -> None:
    """Fastest convolutions for fixed shapes; and what is called fp32 is fp32, unless TF32 is asked for."""
    if device.type == "cpu":
        keep_freed_memory()
    else:
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
