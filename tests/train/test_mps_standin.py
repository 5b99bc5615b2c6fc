"""Training, validation and resume on a device without float64, pinned memory, streams and events: as on Apple's GPUs.

The device is a stand-in (tests/mps_standin.py) that computes as the CPU does, so that weights have to be the CPU's.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch.utils import backend_registration

from tests.train.conftest import ROOT, log_of, train_here

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
        reason="this torch has no interface for backends written in Python",
    ),
]

# The batches of rn50_configs/medium_imagenet_mini.yaml change with the resolution, and so do these.
_RECIPE = {
    "training__epochs": 2,
    "training__clip_norm": 0.5,
    "training__sam_rho": 0.05,
    "training__ema_half_life": 2,
    "training__label_smoothing": 0.1,
    "augmentation__mixup_alpha": 0.2,
    "resolution__batch_sizes": "16:32, 24:16",
    "lr__batch_scaling": "linear",
}


class There:
    """A process that trains on the stand-in."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.mps_standin"]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def train(self, argv: list[str]) -> tuple[str, dict[str, int]]:
        """What the run prints, and what was counted."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(argv) + "\n")
        self._process.stdin.flush()
        printed = ""
        for line in self._process.stdout:
            if line.startswith("done "):
                counted = json.loads(line.removeprefix("done "))
                assert counted["code"] == 0, printed
                return printed, counted
            printed += line
        raise AssertionError(printed)

    def close(self) -> None:
        self._process.communicate("")


@pytest.fixture
def device() -> Iterator[There]:
    there = There()
    yield there
    there.close()


def test_run_on_mps_standin_equals_cpu_and_resumes(
    options: Callable[..., list[str]], tmp_path: Path, device: There
) -> None:
    auto = {"training__device": "auto", "training__precision": "auto"}
    printed, counted = device.train(options(**_RECIPE, **auto, logging__name="there"))
    there = tmp_path / "runs/there"
    assert printed.count("note: training.precision=auto is fp32 here: nothing shorter works (bf16: ") == 1
    assert "decoded on the CPU" in printed
    assert counted["synchronize"] > 10, "before each batch"

    _, here = train_here(options(**_RECIPE, logging__name="here"))
    for name in ("weights.pt", "weights_ema.pt"):
        ours, cpus = (torch.load(run / name, weights_only=True) for run in (there, here))
        assert all(torch.equal(ours[key], cpus[key]) for key in cpus)
    (ours,), (cpus,) = (log_of(run, "result") for run in (there, here))
    assert {key: ours[key] for key in ("top1", "top5", "plain_top1")} == {
        key: cpus[key] for key in ("top1", "top5", "plain_top1")
    }
    start, epoch = log_of(there, "start")[0], log_of(there, "epoch")[0]
    assert (start["device"], start["precision"], start["machine"]["gpus"]) == (
        "standin", "fp32", ["a device as Apple's"],
    )  # fmt: skip
    assert epoch["device_memory_mb"] == 512 and epoch["limits"]["copy_seconds"] == 0

    # As it was after the first epoch.
    killed = tmp_path / "runs/killed"
    shutil.copytree(there, killed)
    (killed / "checkpoints/last.pt").unlink()
    for file in (
        *killed.glob("checkpoints/epoch_002_*"),
        *killed.glob("weights*"),
        *killed.glob("*.safetensors"),
    ):
        file.unlink()
    log = (killed / "log.jsonl").read_text().splitlines(keepends=True)
    (killed / "log.jsonl").write_text("".join(line for line in log if '"kind": "result"' not in line))
    printed, _ = device.train(options(**_RECIPE, **auto, training__resume=killed))
    assert "resuming after epoch 1" in printed
    ours, whole = (torch.load(run / "weights.pt", weights_only=True) for run in (killed, there))
    assert all(torch.equal(ours[key], whole[key]) for key in whole)
