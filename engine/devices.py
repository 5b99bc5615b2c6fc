"""What each kind of device can do, and how torch is asked to do it: the one place that knows their differences.

             streams, events   pinned memory   float64   batches finished   several processes
    cpu      -                 -               yes       there              gloo
    cuda     yes               yes             yes       there              nccl
    mps      -                 -               no        on the CPU         -
    xpu      yes               yes             no        there              xccl

cuda is also what torch's builds for AMD's GPUs (ROCm) call themselves; mps are Apple's GPUs, xpu Intel's. mps and xpu
have not been run here. Without streams a copy waits for all work before it. Code for NVIDIA's own (CUDA graphs, NCCL,
Triton, nvJPEG) asks `is_cuda`. Functions that exist since a later torch than 2.7 are asked for before they are called.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # It takes seconds, and commands that only read files need not wait for it.
    import torch


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What one kind of device can do."""

    words: str
    """The device in a sentence."""
    streams: bool = False
    """Copies beside the computation, and events that say when work has passed, and how long it took."""
    pinned: bool = False
    """Host memory that can be copied without waiting."""
    float64: bool = False
    """Without it, sums that need it are taken on the CPU."""
    finishes: bool = False
    """Whether batches are resized and normalised there; else the CPU does it, and ready batches are copied."""
    exchange: str = ""
    """torch.distributed's backend; empty: a run has one process."""


KINDS = {
    "cpu": Abilities(words="the CPU", float64=True, finishes=True, exchange="gloo"),
    "cuda": Abilities(
        words="the GPU", streams=True, pinned=True, float64=True, finishes=True, exchange="nccl"
    ),
    "mps": Abilities(words="Apple's GPU"),
    # Some of Intel's GPUs have float64, most have not.
    "xpu": Abilities(words="Intel's GPU", streams=True, pinned=True, finishes=True, exchange="xccl"),
}


def abilities(device: "torch.device") -> Abilities:
    """What this device can do."""
    return KINDS[device.type]


def is_cuda(device: "torch.device") -> bool:
    """Whether it is a GPU of NVIDIA's, or of AMD's with torch for ROCm: for code that only these can run."""
    return device.type == "cuda"


def of_cuda(device: "torch.device") -> str:
    """What a GPU of another kind lacks, in words for after "a GPU"; empty on a CPU."""
    return " with CUDA" if is_gpu(device) and not is_cuda(device) else ""


def is_gpu(device: "torch.device") -> bool:
    """Whether the computation runs beside the CPU, which then has its cores for other work."""
    return device.type != "cpu"


# ---- which devices there are ----


def present() -> str:
    """The kind of accelerator that torch can use here; cpu without one."""
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found.type if found is not None and found.type in KINDS else "cpu"


def count(kind: str) -> int:
    """How many devices of this kind torch sees; 1 CPU."""
    return 1 if kind == "cpu" else int(_torch_of(kind).device_count())


def names() -> list[str]:
    """The names of this machine's accelerators."""
    import torch

    kind = present()
    if kind == "cpu":
        return []
    if hasattr(_torch_of(kind), "get_device_name"):
        return [str(_torch_of(kind).get_device_name(index)) for index in range(count(kind))]
    # Since torch 2.9.
    asked: Any = getattr(torch.backends.mps, "get_name", lambda: "Apple GPU")
    return [str(asked())] * count(kind)


def indexed(device: "torch.device") -> "torch.device":
    """The device with its index, which a thread needs to make it its own."""
    import torch

    if abilities(device).streams and device.index is None:
        return torch.device(device.type, _torch_of(device.type).current_device())
    return device


def make_current(device: "torch.device") -> None:
    """Make it the calling thread's device; a new thread starts on the first one."""
    if abilities(device).streams:
        _torch_of(device.type).set_device(device)


# ---- order of work ----


def streaming(device: "torch.device") -> Any:
    """torch's module with Stream, stream() and current_stream() for this device; None where it has no streams."""
    return _torch_of(device.type) if abilities(device).streams else None


def event(device: "torch.device", *, timed: bool = False, blocking: bool = False) -> Any:
    """An event recorded on the current stream of a device with streams.

    With `blocking` a thread that waits for it sleeps, where torch knows that; with `timed` its time can be compared.
    """
    # XPU's waits do not spin.
    more = {"blocking": blocking} if is_cuda(device) else {}
    made = _torch_of(device.type).Event(enable_timing=timed, **more)
    made.record()
    return made


def synchronize(device: "torch.device") -> None:
    """Wait until the device has done all its work; at once on a CPU."""
    import torch

    if is_gpu(device):
        torch.accelerator.synchronize(device)


def seed_all(value: int) -> None:
    """Seed torch's generators, on the CPU and on every GPU in use. Does not wait for a device."""
    import torch

    # torch.manual_seed without its part for GPUs not in use: there it records a stack trace, which takes 0.15 ms.
    torch.default_generator.manual_seed(value)
    for module in (torch.cuda, torch.xpu):
        if module.is_initialized():
            module.manual_seed_all(value)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(value)


# ---- memory ----


def free_memory(device: "torch.device") -> tuple[int, int] | None:
    """Free and total bytes of the device's own memory; None where it has none, or does not tell."""
    asked = getattr(_torch_of(device.type), "mem_get_info", None) if is_gpu(device) else None
    return asked(device) if asked else None


def peak_memory(device: "torch.device") -> int | None:
    """The most bytes of the device's memory that tensors have taken so far; None on a CPU.

    MPS counts no peak: there it is what Metal has reserved for the process, which hardly shrinks.
    """
    if not is_gpu(device):
        return None
    module = _torch_of(device.type)
    asked = getattr(module, "max_memory_allocated", None)
    return int(asked(device) if asked else module.driver_allocated_memory())


def release_memory(device: "torch.device") -> None:
    """Give memory that torch keeps for later tensors back to the device."""
    if is_gpu(device):
        _torch_of(device.type).empty_cache()


# ---- numbers ----


def where_exact(device: "torch.device") -> "torch.device":
    """Where float64 tensors for this device's results are: there, or on the CPU."""
    import torch

    return device if abilities(device).float64 else torch.device("cpu")


def exact(tensor: "torch.Tensor") -> "torch.Tensor":
    """`tensor` in float64, on its own device or, where that has no float64, on the CPU."""
    return tensor.to(where_exact(tensor.device)).double()


def _torch_of(kind: str) -> Any:
    """torch.cuda, torch.mps or torch.xpu."""
    import torch

    return getattr(torch, kind)
