"""A Triton kernel compiled for a GPU that is not here, and what its code needs there."""

import re
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest


@dataclass(frozen=True, kw_only=True)
class AheadCode:
    """Registers of a thread, bytes that it spills, and the layout of blocks: the fastest axis first in `order`."""

    registers: int
    stack: int
    spilled: int
    per_thread: list[int]
    threads: list[int]
    order: list[int]
    text: str


def compile_ahead(
    kernel: Any,
    pointers: Mapping[str, str],
    constants: Mapping[str, Any],
    target: str,
    *,
    aligned: Collection[str] = (),
    warps: int = 4,
    options: Mapping[str, Any] | None = None,
) -> AheadCode:
    """Compile `kernel` for `target` ("sm_90", "gfx942"); arguments that are no pointers are 32-bit integers.

    `aligned` are the arguments that are multiples of 16. Skips the test where Triton can't link for `target`.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {
        name: pointers.get(name, "constexpr" if name in constants else "i32") for name in kernel.arg_names
    }
    attributes = {
        (place,): [["tt.divisibility", 16]] for place, name in enumerate(kernel.arg_names) if name in aligned
    }
    source = ASTSource(kernel, types, constexprs=dict(constants), attrs=attributes)
    nvidia = target.startswith("sm_")
    gpu = GPUTarget("cuda", int(target[3:]), 32) if nvidia else GPUTarget("hip", target, 64)
    try:
        compiled = triton.compile(source, target=gpu, options={"num_warps": warps, **(options or {})})
    except Exception as error:
        # Triton 3.3 brings no linker for AMD.
        if "ld.lld not found" not in str(error):
            raise
        pytest.skip(f"Triton {triton.__version__} needs ROCm's linker for {target}")
    layout = compiled.asm["ttgir"]
    found = re.search(
        r"sizePerThread = \[([\d, ]+)\], threadsPerWarp = \[([\d, ]+)\].*?order = \[([\d, ]+)\]", layout
    )
    assert found, layout[:2000]
    per_thread, threads, order = ([int(one) for one in part.split(",")] for part in found.groups())
    used = _used_nvidia(triton, compiled.asm["cubin"]) if nvidia else _used_amd(compiled.asm["amdgcn"])
    text = compiled.asm["ptx" if nvidia else "amdgcn"]
    return AheadCode(per_thread=per_thread, threads=threads, order=order, text=text, **used)


def _used_nvidia(triton: Any, binary: bytes) -> dict[str, int]:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(binary)
        said = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True).stdout
    used = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", said)}
    return {"registers": used["REG"], "stack": used["STACK"], "spilled": used["LOCAL"]}


def _used_amd(text: str) -> dict[str, int]:
    used = {name: int(value) for name, value in re.findall(r"\.(vgpr_count|vgpr_spill_count):\s+(\d+)", text)}
    return {"registers": used["vgpr_count"], "stack": 0, "spilled": used["vgpr_spill_count"]}
