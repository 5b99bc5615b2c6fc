"""Whether Triton runs on a device is asked for each batch, and looked for once."""

import shutil

import pytest
import torch

from engine.triton_support import why_not_triton

GPU = torch.device("cuda", 5)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU is there, and nothing is known of it."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.delenv("CC", raising=False)
    why_not_triton.cache_clear()


def test_compiler_is_looked_for_once_not_in_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    looked: list[str] = []

    def look(name: str) -> str:
        looked.append(name)
        return f"/usr/bin/{name}"

    monkeypatch.setattr(shutil, "which", look)
    for _ in range(3):
        assert why_not_triton(GPU) == ""
    assert looked == ["gcc"]


@pytest.mark.parametrize(
    ("capability", "compiler", "reason"),
    [
        ((7, 0), "gcc", "Triton needs compute capability 8.0, and this GPU has 7.0"),
        ((9, 0), None, "Triton needs a C compiler, and there is none"),
    ],
)
def test_reason_is_named(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], compiler: str | None, reason: str
) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(shutil, "which", lambda name: compiler)
    assert why_not_triton(GPU) == reason
