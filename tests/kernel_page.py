"""docs/reference/kernels.md: what the code of every Triton kernel needs on each GPU, by Triton version.

    scripts/each_triton.sh .venv-rehearsal/bin/python -m tests.kernel_page

compiles with one Triton after the other and writes their rows. tests/test_aot.py compares with them.
"""

from collections.abc import Mapping
from pathlib import Path

from engine.files import atomic_write
from tests.aot import KERNELS, TARGETS, AheadCode, Variant, compile_ahead, variants

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "kernels.md"

Key = tuple[str, str, str, str]
"""Kernel, variant, GPU, Triton version."""
Row = tuple[str, ...]
"""Registers, spilled bytes, lanes, widest load and store."""

_TEXT = """\
# Triton kernels, compiled ahead of time

<!-- Made by `scripts/each_triton.sh .venv-rehearsal/bin/python -m tests.kernel_page`. -->

What each variant's code needs on GPUs that were not there: `resize` is `engine/data/gpu/triton_resize.py`, `blur`
`engine/models/triton_blur.py`. sm_80 is an A100, sm_90 an H100 or H200, sm_100 a
B200, gfx942 an MI300. Triton 3.3 brings no linker for
AMD's GPUs, so its code for them is read from the assembly, before linking. `tests/test_aot.py` fails if a number of
registers grows or anything is spilled.

- **Registers** of a thread, and the bytes that it **spilled**.
- **Lanes** of a warp over a block's axes, and the elements of each; the last axis lies along a row (the channels of a
  pixel in `blur`).
- **Load**, **store**: bytes of a thread's widest access. In `resize` the widest load is the plan's; pixels are loaded
  byte by byte.

"""
_HEADS = ("Kernel", "Variant", "GPU", "Triton", "Registers", "Spilled", "Lanes", "Load", "Store")


def key_of(variant: Variant, target: str) -> Key:
    """Where a variant's code stands on the page."""
    import triton

    return variant.kernel.name, variant.name, target, triton.__version__


def row_of(code: AheadCode) -> Row:
    """What stands there."""
    return (str(code.registers), str(code.spilled), code.lanes, str(code.load_bytes), str(code.store_bytes))


def read_page() -> dict[Key, Row]:
    """The rows as they are; none without a page."""
    rows: dict[Key, Row] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else ():
        kernel, variant, target, version, *rest = [*line.strip("| ").split(" | "), "", "", ""]
        if target in TARGETS:
            rows[kernel, variant, target, version] = tuple(rest[:5])
    return rows


def write_page(rows: Mapping[Key, Row]) -> None:
    """Write all rows, in order."""
    lines = [_HEADS, ("---",) * len(_HEADS), *((*key, *row) for key, row in sorted(rows.items()))]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    with atomic_write(PAGE) as file:
        file.write((_TEXT + table).encode())


def main() -> None:
    """Rows of the Triton that is installed, and what has grown in them."""
    compiled = {
        key_of(variant, target): row_of(compile_ahead(variant, target))
        for kernel in KERNELS
        for variant in variants(kernel)
        for target in TARGETS
    }
    rows, (*_, version) = read_page(), next(iter(compiled))
    for key, row in compiled.items():
        if key in rows and rows[key] != row:
            print(f"{', '.join(key)}: {', '.join(rows[key])} before, now {', '.join(row)}")
    write_page({key: row for key, row in rows.items() if key[-1] != version} | compiled)
    print(f"{PAGE.name}: {len(compiled)} rows of Triton {version}")


if __name__ == "__main__":
    main()
