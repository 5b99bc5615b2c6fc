"""The techniques stage, and docs/techniques.md as the one list of techniques."""

import re
from pathlib import Path

import pytest

from benchmarks.sides.steps.local_step import step_config
from benchmarks.stages.techniques import PLAIN, TECHNIQUES, WEIGHTS, WITHOUT, main
from engine.config.options import options_of
from engine.config.train.train_config import TrainConfig
from tests.benchmarks import record_checks

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "techniques.md").read_text(encoding="utf-8")


OPTIONS = {
    f"{name}.{key}": spec
    for name, field in TrainConfig.__dataclass_fields__.items()
    for key, spec in options_of(field.default_factory).items()  # type: ignore[arg-type]
}


# Choices that are no techniques: places and ways of a run.
NOT_TECHNIQUES = {
    *("data.order", "data.decoder", "data.verify", "data.corrupt", "training.device", "model.train_only"),
    *("logging.wandb_mode", "budget.clock", "budget.on_alarm"),
    *(
        "training.nonfinite",
        "augmentation.rand_augment_form",
        "augmentation.erasing_fill",
        "lr.batch_scaling",
        "validation.crop_law",
    ),
}


def test_every_choice_of_a_technique_is_described() -> None:
    asked = {key: spec.choices for key, spec in OPTIONS.items() if spec.choices and key not in NOT_TECHNIQUES}
    assert {"lr.lr_schedule_type", "training.optimizer", "loss.name", "augmentation.policy"} <= set(asked)
    missing = [
        f"{key}={choice}"
        for key, choices in asked.items()
        for choice in choices
        if choice not in ("none", "auto") and not re.search(rf"\b{re.escape(choice)}\b", TEXT)
    ]
    assert missing == []


def test_every_option_in_the_document_exists() -> None:
    sections = "|".join({key.split(".")[0] for key in OPTIONS})
    named = set(re.findall(rf"`((?:{sections})\.[a-z0-9_]+)[`=]", TEXT))
    assert len(named) > 40
    assert named <= set(OPTIONS)


def test_records_are_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "techniques.json"
    only = [f"--only={name}" for name in ("SAM", "CUDA graphs", "channels_last")]
    tiny = ("--arch=small_resnet", "--resolution=16", "--batch=16", "--seconds=0.001", "--precision=fp32")
    assert main([*tiny, *only, f"--json={file}"]) == 0
    found = record_checks.read(file)
    for record in found:
        record_checks.check(record)
    assert [record["ours"] for record in found] == ["SAM", "channels_last"]
    told = capsys.readouterr().out
    assert "training.sam_rho=0.05" in told
    assert "CUDA graphs: needs a GPU\n" in told


@pytest.mark.parametrize("name", TECHNIQUES)
def test_technique_is_described_with_options_that_exist(name: str) -> None:
    assert f"**{name}**" in TEXT
    asked = {key: "w.pt" if value == WEIGHTS else value for key, value in TECHNIQUES[name].items()}
    with_it = step_config("resnet50", 16, {**PLAIN, **asked})
    without = step_config("resnet50", 16, {**PLAIN, **WITHOUT.get(name, {})})
    assert with_it != without


@pytest.mark.parametrize("option", ["training.optimizer", "loss.name", "augmentation.policy"])
def test_every_choice_is_measured_but_the_plain_one(option: str) -> None:
    measured = {options[option] for options in TECHNIQUES.values() if option in options}
    assert {choice for choice in OPTIONS[option].choices if choice != OPTIONS[option].default} == measured


def test_measured_figures_are_those_of_the_named_record() -> None:
    named = re.search(r"benchmarks/results/(techniques_\S+)\.md", TEXT)
    assert named
    records = record_checks.read(ROOT / "benchmarks" / "results" / f"{named[1]}.json")
    # A record may hold techniques that were removed since.
    present = [record for record in records if record["ours"] in TECHNIQUES]
    assert len(present) >= len(TECHNIQUES) / 2
    for record in present:
        ratio = record["ratio"]
        figure = f"x {ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
        words = " ".join(TEXT.split())
        assert re.search(rf"\*\*{re.escape(record['ours'])}\*\* \([^)]*{re.escape(figure)}\)", words)
