"""What each kind of device can do, by torch's modules for it replaced; a run on one as Apple's: test_mps_standin.py."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine import devices
from engine.config.load import load_train_stages
from engine.config.train.training import TrainingConfig, check_training
from engine.errors import UserError
from engine.train.batching import plans_by_resolution
from engine.train.ranks import group
from engine.train.ranks.launch import Place
from engine.train.step import precision
from engine.train.step.precision import choose_precision

CPU, MPS, XPU = torch.device("cpu"), torch.device("mps", 0), torch.device("xpu", 1)


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, SimpleNamespace]:
    """In the place of torch.cuda and the like."""
    found: dict[str, SimpleNamespace] = {"mps": SimpleNamespace(), "xpu": SimpleNamespace()}
    monkeypatch.setattr(devices, "_torch_of", lambda kind: found[kind])
    return found


def test_gpu_without_index_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    assert devices.indexed(torch.device("cuda")) == torch.device("cuda", 2)
    assert devices.indexed(torch.device("cuda", 0)) == torch.device("cuda", 0)
    assert devices.indexed(torch.device("cpu")) == torch.device("cpu")


def test_present_is_the_accelerator_that_torch_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    for usable, kind in ((True, "mps"), (False, "cpu")):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda usable=usable: usable)
        assert devices.present() == kind
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mtia"))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert devices.present() == "cpu", "a kind that the engine does not know"


def test_float64_is_on_the_cpu_where_the_device_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.where_exact(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert devices.where_exact(MPS) == devices.where_exact(XPU) == CPU
    assert devices.exact(torch.ones(2)).dtype == torch.float64
    with torch.device("meta"):
        there = torch.ones(2)
    monkeypatch.setitem(devices.KINDS, "meta", devices.KINDS["cuda"])
    assert devices.exact(there).device.type == "meta"


def test_memory_of_a_gpu_is_told_as_far_as_its_module_knows(modules: dict[str, SimpleNamespace]) -> None:
    emptied: list[int] = []
    modules["mps"] = SimpleNamespace(driver_allocated_memory=lambda: 7, empty_cache=lambda: emptied.append(1))
    modules["xpu"] = SimpleNamespace(
        mem_get_info=lambda device: (3, 9), max_memory_allocated=lambda device: 5 + device.index
    )
    assert (devices.free_memory(MPS), devices.peak_memory(MPS)) == (None, 7)
    assert (devices.free_memory(XPU), devices.peak_memory(XPU)) == ((3, 9), 6)
    assert devices.free_memory(CPU) is None and devices.peak_memory(CPU) is None
    devices.release_memory(CPU)
    devices.release_memory(MPS)
    assert emptied == [1]


def test_events_ask_only_cuda_to_block(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def made(**options: Any) -> SimpleNamespace:
        asked.append(options)
        return SimpleNamespace(record=lambda: None)

    monkeypatch.setattr(devices, "_torch_of", lambda kind: SimpleNamespace(Event=made))
    devices.event(torch.device("cuda", 0), timed=True, blocking=True)
    devices.event(XPU, timed=True, blocking=True)
    assert asked == [{"enable_timing": True, "blocking": True}, {"enable_timing": True}]


def test_seed_reaches_generators_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[tuple[str, int]] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: seeded.append(("cuda", seed)))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "manual_seed", lambda seed: seeded.append(("mps", seed)))
    devices.seed_all(5)
    assert seeded == [("cuda", 5), ("mps", 5)]
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize(
    ("asked", "there", "place", "told"),
    [
        ("mps", "cpu", Place(), "training.device is mps, but torch sees no GPU of that kind: see"),
        ("cuda", "mps", Place(), r"torch sees no GPU of that kind \(it sees mps\): see"),
        ("cuda", "cpu", Place(), "training.device is cuda, but torch sees no GPU: see"),
        (
            "auto",
            "mps",
            Place(world=2, local_world=2),
            "training.device=mps trains in one process, and 2 were",
        ),
        (
            "auto",
            "xpu",
            Place(local_rank=1, local_world=2),
            "2 processes on this host but only 1 GPUs: start",
        ),
    ],
)
def test_device_that_a_run_cannot_have_is_refused(
    monkeypatch: pytest.MonkeyPatch, asked: str, there: str, place: Place, told: str
) -> None:
    monkeypatch.setattr(group, "present", lambda: there)
    monkeypatch.setattr(group, "count", lambda kind: 1)
    with pytest.raises(UserError, match=told):
        group._ranks(place, asked)


def test_auto_takes_what_is_present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "count", lambda kind: 1)
    for there, device in (("mps", MPS), ("cpu", CPU)):
        monkeypatch.setattr(group, "present", lambda there=there: there)
        assert group._ranks(Place(), "auto").device == device
    assert group._ranks(Place(), "cpu").device == CPU


@pytest.mark.parametrize(
    ("works", "chosen"), [({"bf16", "fp16"}, "bf16"), ({"fp16"}, "fp16"), (set(), "fp32")]
)
def test_auto_precision_is_what_works_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, works: set[str], chosen: str
) -> None:
    monkeypatch.setattr(precision, "_why_not", lambda tried: "" if tried.name in works else "no kernel")
    found = choose_precision("auto", MPS)
    assert found.name == chosen
    assert ("bf16: no kernel, fp16: no kernel" in found.note) is (chosen == "fp32")
    assert choose_precision("fp32", MPS).name == "fp32"
    if "bf16" not in works:
        with pytest.raises(UserError, match=r"does not work on mps \(bf16: no kernel\): use fp32 or auto"):
            choose_precision("bf16", MPS)


def test_trial_of_a_precision_says_why_it_fails() -> None:
    """On the CPU, which has them all, and on a device that this torch does not have."""
    assert precision._why_not(precision.Precision("bf16", CPU)) == ""
    assert "mps" in precision._why_not(precision.Precision("fp16", MPS)).lower()


def test_options_of_cuda_are_refused_for_other_gpus() -> None:
    for options in ({"sync_bn": True}, {"cuda_graphs": True}, {"stem_channels": 4}):
        with pytest.raises(UserError, match="with CUDA"):
            check_training(TrainingConfig(device="mps", **options))


# Files whose code only NVIDIA's or AMD's GPUs run, those that ask torch for facts of theirs, and one with a rule for
# CPUs in compiled code.
_OF_CUDA = {
    *("engine/devices.py", "engine/cli/doctor.py", "engine/triton_support.py", "engine/data/gpu/nvjpeg.py"),
    *("engine/data/gpu/resize.py", "engine/train/ranks/cores.py", "engine/train/step/graphs.py"),
    *("engine/train/step/precision.py", "engine/models/blurpool.py"),
}
_ASKED = re.compile(r"torch\.cuda|\.is_cuda|device\.type (?:==|!=|in) [\"(]|torch\.(?:mps|xpu)\b")


def test_one_module_knows_the_kinds_of_devices(repository: Path) -> None:
    found = {
        path.relative_to(repository).as_posix()
        for path in repository.glob("engine/**/*.py")
        if _ASKED.search(path.read_text(encoding="utf-8"))
    }
    assert found == _OF_CUDA


def test_recipe_for_a_laptop_fits_one_device() -> None:
    """rn50_configs/medium_imagenet_mini.yaml, of a report that trained on Apple's GPU: no batch is split."""
    given = ["-C", "medium_imagenet_mini", "--training.device=mps", "--training.precision=auto"]
    stages, _ = load_train_stages(
        [*given, "--data.train_dataset=train.beton", "--data.val_dataset=val.beton"]
    )
    plans = [plan for stage in stages for plan in plans_by_resolution(stage, 1, 34_745).values()]
    assert [(plan.global_batch, plan.device_batch, plan.accumulation) for plan in plans] == [
        (size, size, 1) for size in (128, 64, 32)
    ]
