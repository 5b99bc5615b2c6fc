"""The step stage: turns, differences and failures."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.sides import OURS, PEERS, StepSide
from benchmarks.sides.steps.step_tasks import CLASSES
from benchmarks.stages.step import main, passed
from engine.errors import UserError
from tests.benchmarks import record_checks

SMALL = ("--device=cpu", "--arch=small_resnet", "--resolution=16", "--batch=4", "--seconds=0.01")


@pytest.fixture
def plain_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Registers sides of a few lines without torch: `plain_steps(name=body)` replaces all; returns their notes."""
    monkeypatch.syspath_prepend(tmp_path)

    def enter(**bodies: str) -> Path:
        notes = tmp_path / "notes"
        sides = {}
        for name, body in bodies.items():
            text = _PLAIN.format(name=name, notes=str(notes), body=body)
            (tmp_path / f"plain_{name}.py").write_text(text)
            sides[name] = StepSide(entry=f"plain_{name}:Side", what="plain")
        monkeypatch.setitem(OURS, "step", {"ours": sides.pop("ours")})
        monkeypatch.setitem(PEERS, "step", sides)
        return notes

    return enter


_PLAIN = """
from types import SimpleNamespace

class Side:
    settings = "plain"
    batch = 4
    loss = 1.0

    def __init__(self, task):
        pass

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
"""


def test_ours_takes_turns_with_each_peer(
    plain_steps: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = plain_steps(ours="pass", one="pass", two="pass")
    assert main([*SMALL, "--blurpool=on,off", f"--json={tmp_path}/s.json"]) == 0
    found = record_checks.read(tmp_path / "s.json")
    for record in found:
        record_checks.check(record)
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


def test_other_loss_and_failing_side_are_recorded(plain_steps: Callable[..., Path], tmp_path: Path) -> None:
    plain_steps(ours="pass", other="self.loss = 1.5", broken="raise RuntimeError('no luck')", same="pass")
    assert main([*SMALL, "--blurpool=on", f"--json={tmp_path}/s.json"]) == 1
    other, broken, same = record_checks.read(tmp_path / "s.json")
    assert other["loss_differences"][0] == 0.5
    assert broken["error"] == "broken: RuntimeError: no luck"
    assert not passed(other) and not passed(broken) and passed(same)


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
def test_bad_option_is_refused_in_one_line(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main([*SMALL, *options])


def test_missing_gpu_is_refused_in_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UserError, match="--device cuda: torch sees no GPU"):
        main(["--device=cuda"])


@pytest.mark.slow
def test_real_sides_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [*SMALL, "--blurpool=on", "--against=ffcv-imagenet,torchvision,timm", f"--json={tmp_path}/s.json"]
        )
        == 0
    )
    told = capsys.readouterr().out
    assert "left out: torchvision: it has no BlurPool" in told
    assert "left out: timm: it has no small_resnet" in told
    (record,) = record_checks.read(tmp_path / "s.json")
    record_checks.check(record)
    assert record["loss_differences"][0] < 3e-2
    assert "engine.train.step.step.Step" in record["ours_settings"]


@pytest.mark.gpu
def test_compiled_gpu_step_has_the_loss_of_its_peers(tmp_path: Path) -> None:
    sizes = ("--arch=resnet18", "--resolution=64", "--batch=16", "--seconds=0.05")
    assert main([*sizes, "--blurpool=on,off", f"--json={tmp_path}/s.json"]) == 0
    found = record_checks.read(tmp_path / "s.json")
    assert [record["peer"] for record in found] == ["ffcv-imagenet", "timm", *PEERS["step"]]
    assert all(record["compile"] and record["device"] == "cuda" for record in found)
    assert CLASSES == 1000
