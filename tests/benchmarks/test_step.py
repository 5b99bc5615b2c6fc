"""The step stage: its sides train the same network the same way, take turns, and differences are told."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.stages import step as bench_step
from benchmarks.stages.step import main
from benchmarks.sides.steps.step_tasks import CLASSES, PEERS, STEPS, StepTask
from benchmarks.sides.steps.step_training import FIRST_STEPS, Training
from engine.errors import UserError
from tests.benchmarks import records

SMALL = ("--device=cpu", "--arch=small_resnet", "--resolution=16", "--batch=4", "--seconds=0.01")


def _open(name: str, *, blurpool: bool, arch: str = "resnet18", precision: str = "fp32") -> Training:
    task = StepTask(
        arch=arch,
        blurpool=blurpool,
        precision=precision,
        compile=False,
        device="cpu",
        cores=torch.get_num_threads(),
    )
    training: Training = STEPS[name].open_side(task)
    return training


def _first_losses(name: str, *, blurpool: bool) -> list[float]:
    return _open(name, blurpool=blurpool).start(32, 8).losses


def test_without_blurpool_all_sides_take_the_same_steps() -> None:
    ours = _first_losses("ours", blurpool=False)
    assert len(ours) == FIRST_STEPS and abs(ours[0] - ours[2]) > 0.05
    for peer in PEERS:
        losses = _first_losses(peer, blurpool=False)
        assert losses[0] == pytest.approx(ours[0], rel=1e-5), peer
        # Weight decay of norms differs between them, and rounding grows with each step.
        assert losses[:3] == pytest.approx(ours[:3], rel=1e-3), peer


def test_with_blurpool_ours_is_the_network_of_ffcv_imagenet_and_timm_blurs_elsewhere() -> None:
    ours = _first_losses("ours", blurpool=True)
    assert _first_losses("ffcv-imagenet", blurpool=True)[:3] == pytest.approx(ours[:3], rel=1e-3)
    assert abs(_first_losses("timm", blurpool=True)[0] - ours[0]) > 1e-2
    assert abs(_first_losses("ours", blurpool=False)[0] - ours[0]) > 1e-3
    assert [STEPS[name].blurs_as_ours for name in PEERS] == [True, True, False]


def test_each_start_is_the_same_start_whatever_came_before() -> None:
    training = _open("ours", blurpool=True, arch="small_resnet")
    first = training.start(16, 4)
    training.steps(3)
    training.start(24, 2)
    assert training.start(16, 4).losses == first.losses
    assert training.seconds(2) > 0


def test_a_loss_that_is_not_finite_ends_the_round() -> None:
    training = _open("ours", blurpool=False, arch="small_resnet")
    training.start(16, 4)
    with torch.no_grad():
        next(training.side.model.parameters()).fill_(float("nan"))
    with pytest.raises(RuntimeError, match="the loss became nan"):
        training.seconds(1)


def test_a_network_that_a_side_has_not_or_cannot_blur_is_one_line() -> None:
    with pytest.raises(UserError, match="no network 'resnet51'"):
        _open("ours", blurpool=False, arch="resnet51")
    with pytest.raises(UserError, match="timm has no such network"):
        _open("timm", blurpool=False, arch="resnet18_32px")
    with pytest.raises(UserError, match="has no aa_layer"):
        _open("timm", blurpool=True, arch="convnext_atto")


@pytest.fixture
def plain_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Sides of a few lines without torch: `plain_steps(name=body)` puts them in place of all; gives their notes."""
    monkeypatch.syspath_prepend(tmp_path)

    def enter(**bodies: str) -> Path:
        notes = tmp_path / "notes"
        sides = {}
        for name, body in bodies.items():
            # A name of this test's own: modules stay imported.
            module = tmp_path / f"{name}_{tmp_path.name}.py"
            module.write_text(_PLAIN.format(name=name, notes=str(notes), body=body))
            sides[name] = importlib.import_module(module.stem).Contender()
        monkeypatch.setattr(bench_step, "STEPS", sides)
        monkeypatch.setattr(bench_step, "PEERS", [name for name in sides if name != "ours"])
        return notes

    return enter


_PLAIN = """
from types import SimpleNamespace

class Side:
    side = SimpleNamespace(settings="plain")
    batch = 4
    loss = 1.0

    def start(self, resolution, batch):
        {body}
        return SimpleNamespace(losses=[self.loss] * 4, compile_seconds=0.0)

    def steps(self, count):
        return 1.0

    def seconds(self, count):
        with open({notes!r}, "a") as notes:
            print({name!r}, file=notes)
        return count / 1000

    def rest(self):
        pass

class Contender:
    what, blurs, blurs_as_ours = "plain", True, True

    def load(self):
        pass

    def open_side(self, task):
        return Side()
"""


def test_ours_takes_turns_with_each_peer(
    plain_steps: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = plain_steps(ours="pass", one="pass", two="pass")
    assert main([*SMALL, "--blurpool=on,off", f"--json={tmp_path}/s.json"]) == 0
    found = records.read(tmp_path / "s.json")
    for record in found:
        records.check(record)
        assert (record["stage"], record["metric"]) == ("step", "images_per_second")
        assert record["ratio"]["median"] == pytest.approx(1)
        assert record["ours_median"] == pytest.approx(4000)
    assert [(r["peer"], r["blurpool"]) for r in found] == [
        *(("one", True), ("two", True)),
        *(("one", False), ("two", False)),
    ]
    lines = notes.read_text().split()
    case = lines[: len(lines) // 2]
    assert case[case.index("one") :][-5:] == ["two", "ours", "two", "ours", "two"]
    turns = " ".join(case)
    assert " ours one" * 5 in turns and " ours two" * 5 in turns
    assert "| ours | one  | small_resnet | 16" in capsys.readouterr().out
    assert "losses differ" in (tmp_path / "s.md").read_text(encoding="utf-8")


def test_another_loss_and_a_side_that_fails_are_told_and_the_rest_is_measured(
    plain_steps: Callable[..., Path], tmp_path: Path
) -> None:
    plain_steps(ours="pass", other="self.loss = 1.5", broken="raise RuntimeError('no luck')", same="pass")
    assert main([*SMALL, "--blurpool=on", f"--json={tmp_path}/s.json"]) == 1
    other, broken, same = records.read(tmp_path / "s.json")
    assert other["loss_differences"][0] == 0.5
    assert broken["error"] == "broken: RuntimeError: no luck"
    assert not bench_step.passed(other) and not bench_step.passed(broken) and bench_step.passed(same)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--against=tim"], "no peer 'tim'.*timm"),
        (["--against=torchvision", "--blurpool=on"], "none of them can be compared"),
        (["--seconds=0"], "--seconds: invalid number of seconds above 0"),
        (["--precision=fp8"], "--precision"),
        (["--blurpool=maybe"], "--blurpool"),
    ],
)
def test_what_cannot_be_measured_is_one_line(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main([*SMALL, *options])


def test_a_gpu_that_is_not_there_is_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UserError, match="--device cuda: torch sees no GPU"):
        main(["--device=cuda"])


@pytest.mark.slow
def test_real_sides_are_measured_in_processes_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [*SMALL, "--blurpool=on", "--against=ffcv-imagenet,torchvision,timm", f"--json={tmp_path}/s.json"]
        )
        == 0
    )
    told = capsys.readouterr().out
    assert "left out: torchvision: it has no BlurPool" in told
    assert "left out: timm: it has no small_resnet" in told
    (record,) = records.read(tmp_path / "s.json")
    records.check(record)
    assert record["loss_differences"][0] < 3e-2
    assert "engine.train.step.Step" in record["ours_settings"]


@pytest.mark.gpu
def test_on_a_gpu_a_compiled_step_has_the_loss_of_its_peers(tmp_path: Path) -> None:
    sizes = ("--arch=resnet18", "--resolution=64", "--batch=16", "--seconds=0.05")
    assert main([*sizes, "--blurpool=on,off", f"--json={tmp_path}/s.json"]) == 0
    found = records.read(tmp_path / "s.json")
    assert [record["peer"] for record in found] == ["ffcv-imagenet", "timm", *PEERS]
    assert all(record["compile"] and record["device"] == "cuda" for record in found)
    assert CLASSES == 1000
