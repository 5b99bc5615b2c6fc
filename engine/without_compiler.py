"""Runs that compile nothing, without the import of torch's compiler: half the time that they need to start.

torchvision imports `torch._dynamo`, with all of Inductor, SymPy and Triton (850 modules), for one question, and so do
torch's optimizers and its operations on shapes alone, at their first call.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.optim import Optimizer

_COMPILER = "torch._dynamo"
_ASKED = f"{_COMPILER}.utils"
_ANSWER = "__dynamo_disable"


class _ImportedWhenUsed(ModuleType):
    """Stands for a module of the compiler until something of it is wanted but `is_compile_supported`."""

    def __getattr__(self, name: str) -> Any:
        # `inspect` looks for __file__ in each module that is there.
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)

    def is_compile_supported(self, *arguments: Any) -> bool:
        """torch's own answer; torchvision.ops.roi_align binds the name and asks at its first call."""
        return bool(self.__getattr__("is_compile_supported")(*arguments))


def import_torchvision() -> None:
    """Import torchvision; the compiler is not imported with it, unless it is there already."""
    if "torchvision" in sys.modules or _ASKED in sys.modules:
        return
    import torch  # noqa: F401

    stand_in = _ImportedWhenUsed(_ASKED)
    sys.modules[_ASKED] = stand_in
    try:
        importlib.import_module("torchvision")
    finally:
        if sys.modules.get(_ASKED) is stand_in:
            del sys.modules[_ASKED]


def built_without_compiler(build: Callable[[], "Optimizer"]) -> "Optimizer":
    """The optimizer that `build` makes; it does not import the compiler. For one that is in no compiled graph.

    torch keeps some methods out of compiled graphs by wrappers, which ask the compiler for the function to call and
    keep its answer in an attribute of the method (torch._compile): it is set to the method itself. `step` imports
    the compiler each time, in a wrapper that sets no_grad.
    """
    import torch

    for wrapper in vars(torch.optim.Optimizer).values():
        method = getattr(wrapper, "__wrapped__", None)
        made = wrapper.__code__.co_filename if isinstance(wrapper, FunctionType) else ""
        if isinstance(method, FunctionType) and made.endswith("_compile.py"):
            vars(method).setdefault(_ANSWER, method)
    with without_compiler():
        optimizer = build()
    plain_step = inspect.unwrap(type(optimizer).step)
    vars(optimizer)["step"] = MethodType(torch.no_grad()(plain_step), optimizer)
    return optimizer


@contextmanager
def without_compiler() -> Iterator[None]:
    """What torch keeps out of compiled graphs does not import the compiler: operations on the meta device, for one.

    Their answers are taken back at the end, since compiled code needs the compiler's own.
    """
    import torch

    if _COMPILER in sys.modules:
        yield
        return
    answered: list[FunctionType] = []

    def disable(function: FunctionType, *_: Any, **__: Any) -> FunctionType:
        answered.append(function)
        return function

    stand_in = ModuleType(_COMPILER)
    vars(stand_in)["disable"] = disable
    sys.modules[_COMPILER] = vars(torch)["_dynamo"] = stand_in
    try:
        yield
    finally:
        del sys.modules[_COMPILER], vars(torch)["_dynamo"]
        for function in answered:
            vars(function).pop(_ANSWER, None)
