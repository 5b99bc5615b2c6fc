"""Training, validation and resume on a device without float64, pinned memory, streams and events: as on Apple's GPUs.

The device is a stand-in (tests/mps_standin.py) that computes as the CPU does, so that weights have to be the CPU's.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils import backend_registration

from tests.train.conftest import log_of, train_here
from tests.trainer_process import after_first_of_two_epochs, trainer_process

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


def test_run_on_mps_standin_equals_cpu_and_resumes(options: Callable[..., list[str]], tmp_path: Path) -> None:
    auto = {"training__device": "auto", "training__precision": "auto"}
    there, killed = tmp_path / "runs/there", tmp_path / "runs/killed"
    with trainer_process("tests.mps_standin") as train:
        printed = train(options(**_RECIPE, **auto, logging__name="there"))
        after_first_of_two_epochs(there, killed)
        resumed = train(options(**_RECIPE, **auto, training__resume=killed))
    assert printed.count("note: training.precision=auto is fp32 here: nothing shorter works (bf16: ") == 1
    assert "decoded on the CPU" in printed
    counted = json.loads(printed.rpartition("counted ")[2])
    assert counted["synchronize"] > 10, "before each batch"
    assert "resuming after epoch 1" in resumed

    _, here = train_here(options(**_RECIPE, logging__name="here"))
    for name in ("weights.pt", "weights_ema.pt"):
        cpus = torch.load(here / name, weights_only=True)
        for run in (there, killed):
            ours = torch.load(run / name, weights_only=True)
            assert all(torch.equal(ours[key], cpus[key]) for key in cpus), run
    (ours,), (cpus,) = (log_of(run, "result") for run in (there, here))
    assert all(ours[key] == cpus[key] for key in ("top1", "top5", "plain_top1"))
    start, epoch = log_of(there, "start")[0], log_of(there, "epoch")[0]
    assert (start["device"], start["precision"], start["machine"]["gpus"]) == (
        *("standin", "fp32"),
        ["a device as Apple's"],
    )
    assert epoch["device_memory_mb"] == 512 and epoch["limits"]["copy_seconds"] == 0
