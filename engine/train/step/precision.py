"""The arithmetic of the forward and backward pass: fp32, bf16 or fp16, with autocast and gradient scaler."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from torch import nn

from engine.devices import is_cuda, is_gpu
from engine.errors import UserError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_BF16_CPU_FLAGS = {"amx_bf16", "avx512_bf16"}
# bf16 is emulated, slowly, on GPUs older than Ampere.
_AMPERE = (8, 0)


@dataclass(frozen=True)
class Precision:
    """`name` is fp32, bf16 or fp16; weights and optimizer state are fp32 in all of them."""

    name: str
    device: torch.device
    note: str = field(default="", compare=False)
    """For the user: why it is none of the faster ones."""

    @property
    def input_dtype(self) -> torch.dtype:
        """The dtype of the batches."""
        return _DTYPES[self.name]

    def autocast(self) -> AbstractContextManager[object]:
        """The context for the forward pass."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, _DTYPES[self.name])

    def scaler(self) -> torch.amp.GradScaler:
        """A gradient scaler; it does nothing unless the precision is fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def choose_precision(name: str, device: torch.device) -> Precision:
    """The precision `name`; auto is bf16 where the hardware has it, else fp16 on a GPU and fp32 on a CPU.

    On GPUs without CUDA a small step is tried. Raises UserError for bf16 or fp16 on a GPU without it and for fp16 on a
    CPU.
    """
    if is_cuda(device):
        has_bf16 = torch.cuda.get_device_capability(device) >= _AMPERE
        if name == "bf16" and not has_bf16:
            raise UserError("training.precision: this GPU has no bf16 arithmetic; use fp16 or auto")
        return (
            Precision("bf16" if has_bf16 else "fp16", device) if name == "auto" else Precision(name, device)
        )
    if is_gpu(device):
        return _tried_precision(name, device)
    if name == "fp16":
        raise UserError("training.precision fp16 needs a GPU: use bf16, fp32 or auto on a CPU")
    return (
        Precision("bf16" if _cpu_has_bf16() else "fp32", device)
        if name == "auto"
        else Precision(name, device)
    )


def _tried_precision(name: str, device: torch.device) -> Precision:
    """`name`, or for auto the first of bf16, fp16 and fp32 that works on this GPU."""
    reasons = {}
    for tried in ("bf16", "fp16") if name == "auto" else (name,):
        precision = Precision(tried, device)
        reasons[tried] = "" if tried == "fp32" else _why_not(precision)
        if not reasons[tried]:
            return precision
    why = ", ".join(f"{tried}: {reason}" for tried, reason in reasons.items())
    if name != "auto":
        raise UserError(f"training.precision does not work on {device.type} ({why}): use fp32 or auto")
    return Precision("fp32", device, f"training.precision=auto is fp32 here: nothing shorter works ({why})")


@cache
def _why_not(precision: Precision) -> str:
    """Why a training step in this precision fails; empty where it works."""
    device = precision.device
    try:
        network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 4)).to(device)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        with precision.autocast():
            logits = network(torch.ones(2, 3, 8, 8, dtype=precision.input_dtype, device=device))
        scaler = precision.scaler()
        scaler.scale(logits.float().square().mean()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        return "" if logits.isfinite().all() else "its results are not finite"
    except (RuntimeError, TypeError, NotImplementedError, AssertionError) as error:
        # torch goes on with lists of what it knows.
        return str(error).split(". ")[0].split("\n")[0] or type(error).__name__


def _cpu_has_bf16() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return False
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    return bool(_BF16_CPU_FLAGS & set(flags.split()))
