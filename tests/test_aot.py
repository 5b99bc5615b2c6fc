"""Code of every Triton kernel for GPUs that are not here: lanes along rows, wide loads, no more registers."""

import re
from pathlib import Path

import pytest

pytest.importorskip("triton")

from tests.aot import KERNELS, TARGETS, TYPES, Kernel, compile_ahead, variants
from tests.kernel_page import key_of, read_page

# Before a change is merged everything is compiled; by the quick tests the code of an H200 alone.
CASES = [
    pytest.param(kernel, target, dtype, id=f"{kernel.name}, {target}, {dtype}", marks=marks)
    for kernel in KERNELS
    for target in TARGETS
    for dtype in TYPES
    for marks in [() if (target, dtype) == ("sm_90", "bf16") else pytest.mark.slow]
]


@pytest.mark.parametrize(("kernel", "target", "dtype"), CASES)
def test_code_has_wide_loads_along_rows_and_has_not_grown(kernel: Kernel, target: str, dtype: str) -> None:
    page = read_page()
    for variant in variants(kernel, [dtype]):
        code, key = compile_ahead(variant, target), key_of(variant, target)
        assert code.along_rows, (key, code)
        assert code.load_bytes >= (kernel.vector if target.startswith("sm_") else kernel.vector // 2), (
            key,
            code,
        )
        assert code.registers <= kernel.most_registers and not code.spilled, (key, code)
        if any(version == key[-1] for *_, version in page):
            assert code.registers <= int(page[key][0]), f"more than in {page[key]}: {key}, {code}"


def test_page_has_every_variant_on_every_locked_triton(repository: Path) -> None:
    locked = {
        found[1]
        for path in (repository / "requirements").glob("*.txt")
        if (found := re.search(r"^triton==(\S+)", path.read_text(), re.MULTILINE))
    }
    expected = {
        (kernel.name, variant.name, target, version)
        for kernel in KERNELS
        for variant in variants(kernel)
        for target in TARGETS
        for version in locked
    }
    assert set(read_page()) == expected, "make the page again: make gpu-rehearsal"
