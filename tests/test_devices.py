"""The loader's device on a GPU has an index: torch.cuda.set_device refuses one without."""

import pytest
import torch

from engine.devices import indexed


def test_gpu_without_index_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    assert indexed(torch.device("cuda")) == torch.device("cuda", 2)
    assert indexed(torch.device("cuda", 0)) == torch.device("cuda", 0)
    assert indexed(torch.device("cpu")) == torch.device("cpu")
