"""Every Triton kernel compiled ahead of time, in every variant, for GPUs that are not here.

`KERNELS` is the one list: a new kernel is a new entry, a new variant a new value of a constant. tests/kernel_page.py
makes a table of what the code needs, and tests/test_aot.py holds it.
"""

import itertools
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")
"""A100, H100 and H200, B200, MI300."""
TYPES = ("bf16", "fp16", "fp32")
"""Of the batch: what a kernel is launched with depends on the run's precision."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel, and how it is launched.

    `pointers` are the arguments that are tensors, with Triton's type, "" for the batch's; the others are 32-bit
    integers. `constants` has every value that a launch gives, or the name of one in the module: a constexpr that is
    missing is a switch, off or on.
    `aligned` are the arguments that are multiples of 16. `vector` is how many bytes a thread loads at once, on NVIDIA's
    GPUs (a warp of AMD's has twice the lanes for the same row). No thread spills anything.
    """

    name: str
    module: str
    function: str
    pointers: Mapping[str, str]
    constants: Mapping[str, tuple[Any, ...]]
    options: Mapping[str, Any]
    aligned: tuple[str, ...] = ()
    vector: int
    most_registers: int

    def of_module(self, value: Any) -> Any:
        """What the module calls `value`, if that is a name; imported late, since Triton may be missing."""
        return getattr(import_module(self.module), value) if isinstance(value, str) else value

    @property
    def jit(self) -> Any:
        """The kernel."""
        return self.of_module(self.function)


KERNELS = [
    Kernel(
        name="resize",
        module="engine.data.gpu.triton_resize",
        function="_resize_part",
        pointers={"buffer": "*u8", "geometry": "*i64", "mean": "*fp32", "inverse_std": "*fp32", "out": ""},
        constants={"PIXELS": ("_PIXELS",)},
        options={"num_warps": "_WARPS", "enable_fp_fusion": False, "maxnreg": "_REGISTERS"},
        # Single bytes, from anywhere in a row; the plan's numbers are 8 bytes.
        vector=8,
        most_registers=64,
    ),
    Kernel(
        name="blur",
        module="engine.models.triton_blur",
        function="_blur_part",
        pointers={"given": "", "out": ""},
        constants={"STRIDE": (1, 2), "SUM": ("_SUM",), "PIXELS": ("_PIXELS",), "CHANNELS": ("_CHANNELS",)},
        options={"num_warps": "_WARPS", "enable_fp_fusion": True},
        aligned=("given", "out", "channels"),
        vector=16,
        most_registers=96,
    ),
]


@dataclass(frozen=True)
class Variant:
    """One of the codes that a kernel has for each GPU."""

    kernel: Kernel
    dtype: str
    constants: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The constants that differ between variants, and the batch's type."""
        given = self.kernel.constants
        words = [
            f"{key.lower()} {str(value).lower()}"
            for key, value in self.constants.items()
            if len(given.get(key, (False, True))) > 1
        ]
        return ", ".join([*words, self.dtype])


def variants(kernel: Kernel, types: Sequence[str] = TYPES) -> Iterator[Variant]:
    """All that can be launched for batches of these types."""
    names = [parameter.name for parameter in kernel.jit.params if parameter.is_constexpr]
    values = [kernel.constants.get(name, (False, True)) for name in names]
    for dtype, chosen in itertools.product(types, itertools.product(*values)):
        yield Variant(kernel, dtype, dict(zip(names, chosen, strict=True)))


@dataclass(frozen=True, kw_only=True)
class AheadCode:
    """What a variant's code for a target needs: registers of a thread, bytes that it spills, the layouts of its blocks.

    `layouts` are those of loads and stores: elements of a thread, lanes of a warp, and the axes, the fastest first.
    `load_bytes` and `store_bytes` are the widest accesses of one thread to the GPU's memory.
    """

    registers: int
    spilled: int
    layouts: list[tuple[list[int], list[int], list[int]]]
    load_bytes: int
    store_bytes: int

    @property
    def along_rows(self) -> bool:
        """Whether neighbouring lanes of a warp have neighbours of a row, as far as a row has work for them."""
        return all(order[0] == len(order) - 1 and threads[-1] > 1 for _, threads, order in self.layouts)

    @property
    def lanes(self) -> str:
        """The layouts in short: 4 x 8 lanes of 1 x 8 elements."""
        shapes = [[" x ".join(map(str, part)) for part in layout[:2]] for layout in self.layouts]
        return "; ".join(f"{threads} of {each}" for each, threads in shapes)


def compile_ahead(variant: Variant, target: str) -> AheadCode:
    """Compile for `target` ("sm_90", "gfx942") with the Triton that is installed."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = variant.kernel
    constants = {name: kernel.of_module(value) for name, value in variant.constants.items()}
    options = {name: kernel.of_module(value) for name, value in kernel.options.items()}
    pointers = {name: kind or f"*{variant.dtype}" for name, kind in kernel.pointers.items()}
    names = kernel.jit.arg_names
    types = {name: pointers.get(name, "constexpr" if name in constants else "i32") for name in names}
    aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in kernel.aligned}
    source = ASTSource(kernel.jit, types, constexprs=constants, attrs=aligned)
    nvidia = target.startswith("sm_")
    gpu = GPUTarget("cuda", int(target[3:]), 32) if nvidia else GPUTarget("hip", target, 64)
    with TemporaryDirectory() as folder, patch.dict(os.environ, _environment(Path(folder))):
        asm = triton.compile(source, target=gpu, options=options).asm
    used = _used_nvidia(asm["cubin"]) if nvidia else _used_amd(asm["amdgcn"])
    text = asm["ptx" if nvidia else "amdgcn"]
    loads, stores = (_widest(text, nvidia, kind) for kind in ("load", "store"))
    return AheadCode(layouts=_layouts(asm["ttgir"]), load_bytes=loads, store_bytes=stores, **used)


def _environment(folder: Path) -> dict[str, str]:
    """Nothing compiled before is found, and nothing is left.

    Triton 3.3 brings no linker for AMD GPUs. All figures that are needed are in the assembly, so the object is left
    unlinked.
    """
    linker = folder / "linker"
    linker.write_text('#!/bin/sh\n[ "$1" = --version ] || cp "$4" "$6"\n')
    linker.chmod(0o755)
    return {"TRITON_CACHE_DIR": str(folder), "TRITON_HIP_LLD_PATH": str(linker)}


def _layouts(text: str) -> list[tuple[list[int], list[int], list[int]]]:
    """Of the blocks that Triton's intermediate code loads and stores."""
    found = re.findall(
        r"#(blocked\d*) = .*sizePerThread = \[([\d, ]+)\], threadsPerWarp = \[([\d, ]+)\].*?order = \[([\d, ]+)\]",
        text,
    )
    known = {name: tuple([int(one) for one in part.split(",")] for part in parts) for name, *parts in found}
    used = re.findall(r"(?:load|store)\b.*, #(blocked\d*)>", text)
    layouts: list[Any] = [known[name] for name in sorted(set(used))]
    assert layouts, text[:2000]
    return layouts


def _used_nvidia(binary: bytes) -> dict[str, int]:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(binary)
        said = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True).stdout
    used = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", said)}
    # Triton puts nothing else on the stack.
    return {"registers": used["REG"], "spilled": used["STACK"] + used["LOCAL"]}


def _used_amd(text: str) -> dict[str, int]:
    used = {
        name: int(value)
        for name, value in re.findall(
            r"\.(vgpr_count|vgpr_spill_count|private_segment_fixed_size):\s+(\d+)", text
        )
    }
    return {
        "registers": used["vgpr_count"],
        "spilled": max(4 * used["vgpr_spill_count"], used["private_segment_fixed_size"]),
    }


_PTX = {"load": "ld", "store": "st"}
_AMD_BYTES = {
    "dwordx4": 16,
    "dwordx3": 12,
    "dwordx2": 8,
    "dword": 4,
    "ushort": 2,
    "short": 2,
    "ubyte": 1,
    "byte": 1,
}


def _widest(text: str, nvidia: bool, kind: str) -> int:
    """Bytes of the widest `kind` ("load", "store") of one thread in PTX or AMD's assembly."""
    if nvidia:
        found = re.findall(rf"\b{_PTX[kind]}\.global(?:\.[\w:]+)*?(?:\.v(\d))?\.[bsuf](\d+)\s", text)
        return max(int(many or 1) * int(bits) // 8 for many, bits in found)
    # The upper half of a register has its own words: global_store_short_d16_hi.
    sizes = re.findall(rf"\b(?:global|buffer)_{kind}_(?:d16_hi_|d16_)?([a-z]+\d?)", text)
    return max(_AMD_BYTES[size.replace("sbyte", "ubyte").replace("sshort", "ushort")] for size in sizes)
