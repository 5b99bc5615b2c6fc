"""A GPU that is not there, as far as torch.compile looks: its code for CUDA is made, and none of it runs.

For a process of its own: nothing is put back. Tensors are fake: they have a shape, a type, a device, and no data.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

H200 = SimpleNamespace(
    name="NVIDIA H200",
    major=9,
    minor=0,
    total_memory=141 << 30,
    multi_processor_count=132,
    max_threads_per_multi_processor=2048,
    max_threads_per_block=1024,
    regs_per_multiprocessor=65536,
    warp_size=32,
    L2_cache_size=60 << 20,
    shared_memory_per_block=49152,
    shared_memory_per_block_optin=232448,
    shared_memory_per_multiprocessor=233472,
    clock_rate=1_980_000,
    memory_clock_rate=3_201_000,
    memory_bus_width=6144,
    is_integrated=0,
    gcnArchName="",
)
"""What torch.cuda.get_device_properties says of one (NVIDIA's data sheet, tuning guide of Hopper)."""


class _Guard:
    """Stands for `with torch.cuda.device(...)`."""

    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> "_Guard":
        return self

    def __exit__(self, *_: object) -> None: ...


def fake_cuda(properties: SimpleNamespace = H200) -> FakeTensorMode:
    """Have torch take this machine for one with such a GPU; returns the mode in which tensors are made there."""
    # First of all, since others import it from there.
    import torch.utils._triton as triton_state

    triton_state.has_triton = lambda *_: True
    import torch._dynamo.device_interface as interfaces
    import torch._inductor.compile_fx as compile_fx
    import torch._inductor.scheduler as scheduler
    import torch._subclasses.fake_tensor as fake_tensor

    answers: dict[str, Callable[..., Any]] = {
        "is_available": lambda *_: True,
        "is_initialized": lambda *_: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda *_: None,
        "synchronize": lambda *_: None,
        "get_device_properties": lambda *_: properties,
        "get_device_capability": lambda *_: (properties.major, properties.minor),
        "get_device_name": lambda *_: properties.name,
        "is_bf16_supported": lambda *_, **__: True,
        "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda *_: None,
        "_lazy_init": lambda: None,
        "_exchange_device": lambda *_: 0,
        "_maybe_exchange_device": lambda *_: 0,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    # Its functions are C++, and no code that is made depends on them.
    torch.accelerator.is_available = lambda: False
    torch.accelerator.current_device_index = lambda: 0
    # Device guards that do nothing, which torch has for machines without a GPU.
    torch._C._ensureCUDADeviceGuardSet()
    torch.cuda.device = _Guard  # type: ignore[assignment,misc]
    torch._C._cuda_getCurrentRawStream = lambda *_: 0  # type: ignore[attr-defined]
    # What would start CUDA, or ask the driver.
    fake_tensor.init_gpu_context = lambda *_: None
    FakeTensorMode.avoid_device_init = True  # type: ignore[assignment,method-assign]
    for module in (compile_fx, scheduler):
        module.has_triton = triton_state.has_triton  # type: ignore[attr-defined]
    triton_state.triton_hash_with_backend = lambda *_, **__: "none"
    compile_fx._warn_tf32_disabled = lambda: None
    # They are made from torch.cuda's functions as these were at import.
    interface = interfaces.CudaInterface
    for name in (
        "is_available",
        "device_count",
        "current_device",
        "set_device",
        "synchronize",
        "is_bf16_supported",
    ):
        setattr(interface, name, staticmethod(answers[name]))
    for name in ("exchange_device", "maybe_exchange_device"):
        setattr(interface, name, staticmethod(answers[f"_{name}"]))
    for owner in (interface, interface.Worker):
        owner.get_device_properties = staticmethod(answers["get_device_properties"])  # type: ignore[assignment,method-assign]
    interface.Worker.current_device = staticmethod(answers["current_device"])  # type: ignore[method-assign]
    interface.device = _Guard  # type: ignore[assignment,misc]
    _choose_cudnn()
    return FakeTensorMode(allow_non_fake_inputs=True)


def _choose_cudnn() -> None:
    """Convolutions as on a GPU: cuDNN's, whose result is channels_last as its input is."""
    c = torch._C
    c._select_conv_backend = lambda *_, **__: c._ConvBackend.Cudnn  # type: ignore[attr-defined]
    c._conv_determine_backend_memory_format = lambda *_, **__: torch.channels_last  # type: ignore[attr-defined]
