"""`python -m engine checkpoint`: what it shows of a file and what it makes of one."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.__main__ import main
from engine.errors import UserError

RAW = {
    "conv.weight": torch.ones(4, 3, 2, 2),
    "bn.running_mean": torch.zeros(4),
    "fc.weight": torch.ones(5, 4),
}
AVERAGE = {name: value * 2 for name, value in RAW.items()}
OURS = {
    "model": RAW, "ema": AVERAGE, "optimizer": {"state": {}}, "scaler": {}, "epoch": 7, "step": 3, "best": 0.85,
    "elapsed": 12.5,
    "config": {"model": {"arch": "resnet50"}},
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A run's checkpoint."""
    torch.save(OURS, tmp_path / "last.pt")
    return tmp_path / "last.pt"


def _rewrite(file: Path, *options: str) -> dict[str, Any]:
    output = file.with_name("out.pt")
    assert main(["checkpoint", str(file), "--output", str(output), *options]) == 0
    content: dict[str, Any] = torch.load(output, weights_only=True)
    return content


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_summary_shows_kind_keys_epoch_and_parameters(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", str(file)]) == 0
    lines = {line[:12].strip(): line[13:] for line in capsys.readouterr().out.splitlines()}
    assert lines["kind"] == "checkpoint of a run"
    assert lines["keys"] == "model, ema, optimizer, scaler, epoch, step, best, elapsed, config"
    # As the run says it: epochs count from 1. Its best is that of a validation before.
    assert (lines["saved after"], lines["network"]) == ("epoch 8, step 3", "resnet50")
    assert lines["best before"] == "85.00% top-1"
    assert not {"epoch", "step", "best"} & lines.keys()
    # 4x3x2x2 and 5x4; a running mean is no parameter.
    assert lines["model"].startswith(
        "3 tensors, 68 parameters, float32; conv.weight 4x3x2x2 to fc.weight 5x4"
    )
    assert lines["ema"] == lines["model"]


def test_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"kind": "start"}\n')
    with pytest.raises(
        UserError, match=r"log\.jsonl is not a whole checkpoint: torch\.save did not write it"
    ) as caught:
        main(["checkpoint", str(tmp_path / "log.jsonl")])
    assert "weights_only" not in str(caught.value)


def test_summary_shows_prefix_and_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({f"module.{name}": value for name, value in RAW.items()}, tmp_path / "w.pt")
    assert main(["checkpoint", str(tmp_path / "w.pt"), "--shapes"]) == 0
    out = capsys.readouterr().out
    assert "weights alone" in out
    assert "every name starts with module." in out
    assert "module.bn.running_mean 4 float32" in out


@pytest.mark.parametrize("first", [True, False])
def test_counter_of_an_average_is_not_a_prefix(
    first: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As torchvision's reference scripts save their moving average."""
    counter = {"n_averaged": torch.tensor(3)}
    average = {f"module.{name}": value for name, value in RAW.items()}
    torch.save({"model_ema": counter | average if first else average | counter}, tmp_path / "w.pt")
    assert main(["checkpoint", str(tmp_path / "w.pt")]) == 0
    out = capsys.readouterr().out
    assert "68 parameters, float32; module.conv.weight 4x3x2x2 to module.fc.weight 5x4" in out
    assert "every name but n_averaged starts with module.\n" in out


@pytest.mark.parametrize("content", [{0: torch.ones(2), 1: torch.ones(3)}, {"n_averaged": torch.tensor(3)}])
def test_tensors_without_names_are_not_listed_as_weights(
    content: dict[Any, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "w.pt")
    assert main(["checkpoint", str(tmp_path / "w.pt")]) == 0
    assert f"keys         {', '.join(map(str, content))}\n" in capsys.readouterr().out


def test_use_ema_replaces_weights_and_strips_the_rest(file: Path) -> None:
    content = _rewrite(file, "--use-ema", "--strip-ema", "--strip-optimizer", "--reset-schedule")
    place = {"epoch", "step", "seconds", "waited", "skips", "losses", "elapsed", "best"}
    assert content.keys() == {"model", *place, "config"}
    assert _same(content["model"], AVERAGE)
    assert (content["epoch"], content["step"], content["elapsed"]) == (0, 0, 0.0)


def test_weights_only_copy_changes_the_prefix(file: Path) -> None:
    prefixed = _rewrite(file, "--weights-only", "--add-prefix", "module.")
    assert _same(prefixed, {f"module.{name}": value for name, value in RAW.items()})
    torch.save(prefixed, file)
    file.with_name("out.pt").unlink()
    assert _same(_rewrite(file, "--strip-prefix", "module."), RAW)


def test_copy_without_changes_holds_the_same(file: Path) -> None:
    content = _rewrite(file)
    assert content.keys() == OURS.keys()
    assert _same(content["model"], RAW)
    assert _same(content["ema"], AVERAGE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strip-ema"], "--strip-ema: .* would be changed: name the copy with --output"),
        (
            ["--output", "out.pt", "--strip-prefix", "module."],
            r"conv\.weight in .* does not start with module\.",
        ),
        (["--output", "last.pt"], r"last\.pt exists: choose another name"),
    ],
)
def test_impossible_change_is_refused_and_writes_nothing(
    file: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    with pytest.raises(UserError, match=message):
        main(["checkpoint", str(file), *options])
    assert os.listdir(file.parent) == ["last.pt"]


@pytest.mark.parametrize(
    ("content", "option", "message"),
    [
        (RAW, "--use-ema", "holds weights alone"),
        ({"model": RAW}, "--use-ema", "holds no moving average"),
        ({"model": RAW}, "--reset-schedule", "counts no epochs"),
        ({"ema": RAW}, "--weights-only", "see --use-ema"),
    ],
)
def test_change_that_does_not_apply_is_refused(
    content: dict[str, Any], option: str, message: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UserError, match=message):
        main(["checkpoint", str(tmp_path / "w.pt"), option, "--output", str(tmp_path / "out.pt")])
    assert not (tmp_path / "out.pt").exists()
