"""Evaluation runs on real JPEGs: any file of weights, all that evaluation.json says, alike for any number of ranks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.data.beton.reader import open_beton
from engine.data.loading.loader import Loader
from engine.errors import UserError
from engine.runs.log_file import RunLog
from engine.train.evaluation import validator
from engine.train.evaluation.accuracy import predictions
from engine.train.evaluation.evaluation_run import EvaluationRun
from tests.shapes import CLASSES
from tests.train.conftest import Launch, log_of, train_here

Options = Callable[..., list[str]]
State = dict[str, torch.Tensor]


def _prefixed(state: State) -> State:
    return {f"module.{name}": value for name, value in state.items()}


FILES: dict[str, Callable[[State], dict[str, Any]]] = {
    "DistributedDataParallel's": _prefixed,
    "torchvision's script's": lambda state: {"model": state, "epoch": 3},
    "timm's": lambda state: {"state_dict": _prefixed(state), "arch": "x"},
}


@pytest.mark.parametrize("maker", FILES)
def test_weights_of_any_maker_score_the_same(
    evaluate: Any, trained: Path, tmp_path: Path, maker: str
) -> None:
    state = torch.load(trained / "weights.pt", weights_only=True)
    torch.save(FILES[maker](state), tmp_path / "theirs.pt")
    result, _ = evaluate(model__weights=tmp_path / "theirs.pt")
    (expected,) = log_of(trained, "result")
    assert (result["top1"], result["val_loss"]) == (expected["top1"], expected["val_loss"])


@pytest.mark.parametrize(
    ("name", "use_ema", "prefix"),
    [
        ("weights_ema.pt", False, "ema_"),
        ("checkpoints/last.pt", False, ""),
        ("checkpoints/last.pt", True, "ema_"),
    ],
)
def test_saved_weights_score_as_logged(
    evaluate: Any, trained: Path, name: str, use_ema: bool, prefix: str
) -> None:
    result, found = evaluate(model__weights=trained / name, model__use_ema=use_ema)
    (expected,) = log_of(trained, "result")
    for key in ("top1", "top5", "val_loss"):
        assert result[key] == pytest.approx(expected[f"{prefix}{key}"], rel=1e-6)
    assert (found["weights"], found["use_ema"]) == (str(trained / name), use_ema)


def test_evaluation_file_details_match_a_loop(evaluate: Any, betons: tuple[Path, Path]) -> None:
    result, found = evaluate()
    assert result["evaluation"] == {key: found[key] for key in result["evaluation"]}
    images = np.bincount(open_beton(betons[1]).labels).tolist()
    assert [(entry["class"], entry["images"]) for entry in found["classes"]] == list(
        zip(CLASSES, images, strict=True)
    )
    right = sum(entry["images"] * entry["top1"] for entry in found["classes"])
    assert right / 37 == pytest.approx(found["top1"]) == pytest.approx(result["top1"])
    assert sum(pair["images"] for pair in found["confusions"]) == 37 - round(right)
    calibration = found["calibration"]
    assert sum(entry["images"] for entry in calibration["bins"]) == found["images"] == 37
    assert calibration["nll"] == pytest.approx(result["val_loss"], abs=2e-6)
    right_by_bin = sum(entry["images"] * (entry["accuracy"] or 0) for entry in calibration["bins"])
    assert right_by_bin == pytest.approx(right, abs=1e-3)
    assert (found["resolution"], found["tta"], found["plain"]["resolution"], found["plain"]["tta"]) == (
        *(32, True),
        *(24, False),
    )


def test_several_resolutions_in_one_pass_score_as_one_by_one(
    evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two batches of 16 at a time: the file is gone through in stretches.
    monkeypatch.setattr(validator, "STRETCH", 32)
    result, found = evaluate(validation__resolutions="24,16,32,24", logging__name="several")
    assert [entry["resolution"] for entry in found["resolutions"]] == [16, 24, 32]
    assert found["top1"] == found["resolutions"][2]["top1"] == result["top1"]
    alone, _ = evaluate(validation__resolution=16, logging__name="alone")
    for key in ("top1", "top5", "top1_no_tta", "top5_no_tta"):
        assert found["resolutions"][0][key] == alone[key]
    assert found["resolutions"][0]["val_loss"] == pytest.approx(alone["val_loss"], abs=2e-6)


def test_each_stretch_is_measured_at_all_resolutions_first(
    evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, list[int]]] = []
    batches = Loader.batches

    def note(loader: Loader, ids: Any, resolution: int, *rest: Any) -> Any:
        asked.append((resolution, np.concatenate(ids).tolist()))
        return batches(loader, ids, resolution, *rest)

    monkeypatch.setattr(Loader, "batches", note)
    monkeypatch.setattr(validator, "STRETCH", 32)
    evaluate(validation__resolutions="16")
    first, second = list(range(32)), list(range(32, 37))
    assert asked == [(side, part) for part in (first, second) for side in (32, 16, 24)]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_evaluation_on_two_ranks_equals_one(
    options: Options, launch: Launch, trained: Path, betons: tuple[Path, Path], tmp_path: Path, ranks: int
) -> None:
    # 37 images divide neither by 2 nor by 3.
    asked = {
        "training__eval_only": True,
        "model__weights": trained / "weights.pt",
        "validation__resolutions": "16",
        "validation__reference": betons[1].parent / "images",
    }
    done = launch(options(logging__name="together", **asked), ranks=ranks)
    assert done.returncode == 0, done.stderr
    train_here(options(logging__name="alone", **asked))
    together, alone = (
        json.loads((tmp_path / "runs" / name / "evaluation.json").read_text())
        for name in ("together", "alone")
    )
    _assert_same(together, alone)
    assert done.stdout.count("verdict") == 1, "rank 0 alone talks"


def _assert_same(found: Any, expected: Any, key: str = "") -> None:
    """Counts and shares to the last digit; other figures to the rounding of the batches that images came in."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            _assert_same(found[name], expected[name], name)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _assert_same(one, other, key)
    elif key in ("val_loss", "nll", "ece", "confidence", "mean_difference", "moved") and expected is not None:
        assert found == pytest.approx(expected, abs=2e-6), key
    else:
        assert found == expected, key


def test_corrupt_images_are_left_out_of_all_figures(
    evaluate: Any, betons: tuple[Path, Path], tmp_path: Path
) -> None:
    beton = open_beton(betons[1])
    content = bytearray(betons[1].read_bytes())
    content[int(beton.images["data_ptr"][5]) + 9] ^= 255
    (tmp_path / "damaged.beton").write_bytes(content)
    _, found = evaluate(
        data__val_dataset=tmp_path / "damaged.beton",
        data__corrupt="skip",
        validation__reference=betons[1].parent / "images",
    )
    assert (found["images"], found["left_out"], found["reference"]["images"]) == (36, 1, 36)
    assert sum(entry["images"] for entry in found["classes"]) == 36


def test_nonfinite_weights_score_zero_and_miss_the_target(
    evaluate: Any, trained: Path, betons: tuple[Path, Path], tmp_path: Path
) -> None:
    state = torch.load(trained / "weights.pt", weights_only=True)
    state["fc.weight"] *= torch.nan
    torch.save(state, tmp_path / "broken.pt")
    result, found = evaluate(
        model__weights=tmp_path / "broken.pt",
        validation__reference=betons[1].parent / "images",
        budget__target_top1=0.01,
    )
    assert (result["top1"], result["top5"], result["plain_top1"], result["met"]) == (0, 0, 0, False)
    assert "0.00% top-1 (outputs not finite on 37 of 37 images, which count as wrong)" in result["verdict"]
    assert {(entry["top1"], entry["top5"]) for entry in found["classes"]} == {(0, 0)}
    assert found["confusions"] == [], "no class was predicted"
    assert (found["reference"]["top1"], found["reference"]["mean_difference"]) == (0, None)


@pytest.mark.parametrize("lost", ["log", "evaluation.json"])
def test_full_disk_at_the_end_keeps_the_verdict(
    evaluate: Any, lost: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = RunLog.write

    def full(log: RunLog, line: dict[str, Any]) -> None:
        if line["kind"] == "result":
            raise UserError("cannot write the log: the disk is full")
        write(log, line)

    def none_left(*_: Any) -> None:
        raise UserError("cannot write evaluation.json: the disk is full")

    if lost == "log":
        monkeypatch.setattr(RunLog, "write", full)
    else:
        monkeypatch.setattr(EvaluationRun, "_write", none_left)
    with pytest.raises(UserError, match="the disk is full"):
        evaluate()
    said = capsys.readouterr().out
    assert "verdict " in said and "accuracy   top-1" in said and "by class" in said


def test_class_top5_uses_tta_as_top1_does(evaluate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def never_right_without_tta(*args: Any, **options: Any) -> Any:
        for batch, final, _ in predictions(*args, **options):
            # The label comes last of six classes, which is not among five.
            yield batch, final, 1 - torch.eye(len(CLASSES))[batch.labels]

    monkeypatch.setattr(validator, "predictions", never_right_without_tta)
    _, found = evaluate(validation__lr_tta=True)
    right = sum(entry["images"] * entry["top5"] for entry in found["classes"])
    assert right / 37 == pytest.approx(found["top5"])
    assert found["top5"] > found["top5_no_tta"] == 0


def test_evaluation_does_not_open_the_training_file(options: Options, trained: Path, tmp_path: Path) -> None:
    weights = trained / "weights.pt"
    gone = tmp_path / "gone.beton"
    code, _ = train_here(options(training__eval_only=True, model__weights=weights, data__train_dataset=gone))
    assert code == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation__resolutions": "24"}, r"validation\.resolutions needs trained weights"),
        ({"validation__reference": "images"}, r"validation\.reference needs trained weights"),
        (
            {"validation__reference_folder": "test"},
            r"reference_folder has no effect without validation\.reference",
        ),
        ({"validation__reference_labels": "l.txt"}, r"reference_labels has no effect without"),
        (
            {"validation__resolutions": "24;32"},
            r"validation\.resolutions: '24;32' is not a list of resolutions",
        ),
    ],
)
def test_evaluation_options_are_refused_in_training(
    options: Options, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train_here(options(**change))
    assert not (tmp_path / "runs").exists()
