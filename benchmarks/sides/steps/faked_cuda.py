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


def put(owner: Any, **parts: Any) -> None:
    """Replace parts of a module or class."""
    for name, part in parts.items():
        setattr(owner, name, part)


def fake_cuda(properties: SimpleNamespace = H200) -> FakeTensorMode:
    """Have torch take this machine for one with such a GPU; returns the mode in which tensors are made there."""
    # First of all, since others import it from there.
    import torch.utils._triton as triton_state

    put(triton_state, has_triton=lambda *_: True, triton_hash_with_backend=lambda *_, **__: "none")
    import torch._dynamo.device_interface as interfaces
    import torch._inductor.compile_fx as compile_fx
    import torch._inductor.scheduler as scheduler
    import torch._subclasses.fake_tensor as fake_tensor

    answers: dict[str, Callable[..., Any]] = {
        "is_available": lambda *_: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda *_: None,
        "synchronize": lambda *_: None,
        "get_device_properties": lambda *_: properties,
        "is_bf16_supported": lambda *_, **__: True,
    }
    put(
        torch.cuda,
        **answers,
        is_initialized=lambda *_: True,
        get_device_capability=lambda *_: (properties.major, properties.minor),
        get_device_name=lambda *_: properties.name,
        get_rng_state=lambda *_: torch.zeros(16, dtype=torch.uint8),
        set_rng_state=lambda *_: None,
        _lazy_init=lambda: None,
        _exchange_device=lambda *_: 0,
        _maybe_exchange_device=lambda *_: 0,
        device=_Guard,
    )
    # Its functions are C++, and no code that is made depends on them.
    put(torch.accelerator, is_available=lambda: False, current_device_index=lambda: 0)
    # Device guards that do nothing, which torch has for machines without a GPU.
    torch._C._ensureCUDADeviceGuardSet()
    # What would start CUDA, or ask the driver; convolutions as on a GPU: cuDNN's, channels_last as their input is.
    inner: Any = torch._C
    put(
        inner,
        _cuda_getCurrentRawStream=lambda *_: 0,
        _select_conv_backend=lambda *_, **__: inner._ConvBackend.Cudnn,
        _conv_determine_backend_memory_format=lambda *_, **__: torch.channels_last,
    )
    put(fake_tensor, init_gpu_context=lambda *_: None)
    put(FakeTensorMode, avoid_device_init=True)
    put(compile_fx, has_triton=lambda *_: True, _warn_tf32_disabled=lambda: None)
    put(scheduler, has_triton=lambda *_: True)
    # It took torch.cuda's functions as these were at import.
    still = {name: staticmethod(answer) for name, answer in answers.items()}
    exchanges = {name: staticmethod(lambda *_: 0) for name in ("exchange_device", "maybe_exchange_device")}
    put(interfaces.CudaInterface, **still, **exchanges, device=_Guard)
    for name in ("get_device_properties", "current_device"):
        put(interfaces.CudaInterface.Worker, **{name: still[name]})
    return FakeTensorMode(allow_non_fake_inputs=True)
