"""A device that behaves as Apple's GPUs do under torch, and a program that trains on it. For a process of its own.

    python -m tests.mps_standin       as tests.trainer_process, with training.device=auto

Its tensors are made of CPU tensors but are no CPU tensors: torch sees a device of another kind, through its interface
for backends written in Python. As on MPS there is no float64, no pinned memory, no stream and no event; a tensor of the
CPU does not go with one of the device; autocast knows no type there, so that only fp32 works. engine/devices.py takes
it for mps.
"""

from typing import Any

import torch
from torch.utils import _pytree, backend_registration

from benchmarks.sides.steps.faked_cuda import put
from tests.trainer_process import serve

KIND = "standin"

_NOT_THERE = "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."

counted = {"synchronize": 0}
"""How often the device was waited for."""


_BETWEEN = (torch.ops.aten.copy_, torch.ops.aten._to_copy, torch.ops.aten.to)
"""What takes tensors from one device to another."""


class There(torch.Tensor):
    """A tensor on the device; `here` holds its numbers."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> "There":
        if here.dtype == torch.float64:
            raise TypeError(_NOT_THERE)
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=torch.device(KIND, 0),
        )
        made.here = here
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"There({self.here!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "There":
        # torch's own looks for the memory.
        made = There(self.here.detach().clone())
        made.requires_grad_(self.requires_grad)
        made._is_param = isinstance(self, torch.nn.Parameter)
        memo[id(self)] = made
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.here.detach().__reduce_ex__(protocol)

    def tolist(self) -> Any:
        return self.here.tolist()

    def data_ptr(self) -> int:
        return self.here.data_ptr()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operator gives, on the device unless it was asked for the CPU."""
    flat, spec = _pytree.tree_flatten((args, kwargs))
    asked = [one for one in flat if isinstance(one, torch.device)]
    goes = not asked or asked[0].type == KIND
    if func.overloadpacket not in _BETWEEN:
        strangers = [one for one in flat if type(one) is torch.Tensor and one.dim()]
        if strangers and any(isinstance(one, There) for one in flat):
            raise RuntimeError(
                f"{func}: expected all tensors to be on the same device, mps:0 and cpu are not"
            )
    if kwargs.get("pin_memory"):
        raise RuntimeError("Cannot pin memory for mps")
    known = {id(one.here): one for one in flat if isinstance(one, There)}
    moved = [one.here if isinstance(one, There) else _cpu(one) for one in flat]
    given_args, given_kwargs = _pytree.tree_unflatten(moved, spec)
    results = func(*given_args, **given_kwargs)

    def back(one: Any) -> Any:
        if not isinstance(one, torch.Tensor):
            return one
        # What an operator changed in place stays the same tensor; none is in both places.
        if id(one) in known:
            return known[id(one)] if goes else one.clone()
        return There(one) if goes else one

    if func.overloadpacket is torch.ops.aten.copy_ and not isinstance(args[0], There):
        return args[0]
    return _pytree.tree_map(back, results)


def _cpu(value: Any) -> Any:
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == KIND else value


class Module:
    """As torch.mps."""

    def device_count(self) -> int:
        return 1

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def get_device_name(self, index: int) -> str:
        return "a device as Apple's"

    def current_device(self) -> int:
        return 0

    def manual_seed_all(self, value: int) -> None:
        """The CPU's generator draws."""

    def empty_cache(self) -> None: ...

    def driver_allocated_memory(self) -> int:
        return 512 * 2**20

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


def install() -> None:
    """Register the device with torch, and have the engine take it for Apple's. For good."""
    backend_registration._setup_privateuseone_for_python_backend(KIND, Module())
    library = torch.library.Library("_", "IMPL")
    library.fallback(lambda func, *args, **kwargs: run(func, args, kwargs), "PrivateUse1")
    _keep.append(library)
    # Parameters are replaced, not given other numbers: they become tensors of another class.
    torch.__future__.set_overwrite_module_params_on_conversion(True)

    tensor = torch.tensor

    def made(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
        # Its C++ makes no tensors of backends in Python.
        there = device is not None and torch.device(device).type == KIND
        return tensor(data, **options).to(device) if there else tensor(data, device=device, **options)

    put(torch, tensor=made)

    def synchronize(device: torch.device) -> None:
        assert device.type == KIND
        counted["synchronize"] += 1

    put(torch.accelerator, synchronize=synchronize)

    from engine import devices

    devices.KINDS[KIND] = devices.KINDS["mps"]
    put(devices, present=lambda: KIND)


_keep: list[Any] = []


if __name__ == "__main__":
    install()
    serve(counted)
